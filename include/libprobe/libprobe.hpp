// All of libprobe.
#pragma once

#include <libprobe/batch.hpp>
#include <libprobe/counter.hpp>
#include <libprobe/error.hpp>
#include <libprobe/functions.hpp>
#include <libprobe/jprobe.hpp>
#include <libprobe/latency.hpp>
#include <libprobe/listing.hpp>
#include <libprobe/location.hpp>
#include <libprobe/probe.hpp>
#include <libprobe/profile.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/replacement.hpp>
#include <libprobe/retprobe.hpp>
#include <libprobe/typed.hpp>
