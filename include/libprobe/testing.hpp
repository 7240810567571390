// Fixtures for tests, on the public API alone: spies, stubs, faults, frozen clocks, pause points, and checks
// of what code must not do. With GoogleTest (included before this, or by libprobe/testing/googletest.hpp) or
// without any framework.
//
// All fixtures are scoped, for all threads, this one or a group; several may look at one function, in several
// tests of one process that run at once. They are made and destroyed in ordinary context, not in handlers.
#pragma once

#include <libprobe/testing/fixed_random.hpp>
#include <libprobe/testing/frozen_clock.hpp>
#include <libprobe/testing/lock_order.hpp>
#include <libprobe/testing/no_allocation.hpp>
#include <libprobe/testing/pause_point.hpp>
#include <libprobe/testing/reach.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/spy.hpp>
#include <libprobe/testing/stub.hpp>
#include <libprobe/testing/thread.hpp>

#if defined(GTEST_INCLUDE_GTEST_GTEST_H_) || defined(GOOGLETEST_INCLUDE_GTEST_GTEST_H_)
#include <libprobe/testing/googletest.hpp>
#endif
