// What most tests include, compiled once: half of what a test costs to compile otherwise. Tests include it
// themselves, too, so that each can be read, and compiled, alone.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <libprobe/libprobe.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>
