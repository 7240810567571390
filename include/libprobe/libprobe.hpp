// All of libprobe.
#pragma once

#include <libprobe/batch.hpp>
#include <libprobe/error.hpp>
#include <libprobe/functions.hpp>
#include <libprobe/kinds.hpp>
#include <libprobe/listing.hpp>
#include <libprobe/location.hpp>
#include <libprobe/profile.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/registration.hpp>
#include <libprobe/typed.hpp>
