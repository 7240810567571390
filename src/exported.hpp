// A shared library exports what its public headers declare. Those with something to define are compiled first
// of all in the sources that define it, with default visibility in the place of -fvisibility=hidden (see
// CMakeLists.txt): so no name of theirs needs a mark.
#pragma once

#pragma GCC visibility push(default)
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
#include <libprobe/registration.hpp>
#include <libprobe/replacement.hpp>
#include <libprobe/retprobe.hpp>
#pragma GCC visibility pop
