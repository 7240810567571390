// Calls that end otherwise than by returning, and calls that a profile cannot hold: all of them are accounted
// for.
#include <gmock/gmock.h>
#include <pthread.h>
#include <setjmp.h>

#include <mutex>
#include <stdexcept>
#include <thread>

#include "support/probing.hpp"
#include "support/profiling.hpp"

#define TARGET extern "C" [[gnu::noinline, gnu::used]]

TARGET int profiled_leaf(int x) {
  for (int i = 0; i < x; ++i) asm volatile("");
  return x;
}
TARGET int profiled_inner(int x) { return profiled_leaf(x) + 1; }
TARGET int profiled_outer(int x) { return profiled_inner(x) + profiled_leaf(x) + 1; }
TARGET int profiled_fibonacci(int n) {
  int (*volatile self)(int) = profiled_fibonacci;  // or the compiler would unroll it
  return n < 2 ? n : self(n - 1) + self(n - 2);
}
TARGET int profiled_deep(int n) {
  const int below = n == 0 ? 0 : profiled_deep(n - 1) + 1;
  asm volatile("");
  return below;
}
TARGET int profiled_throwing(int x) {
  if (profiled_leaf(x) == x) throw std::runtime_error{"thrown"};
  return 0;
}
TARGET int profiled_catching(int x) {
  try {
    return profiled_throwing(x);
  } catch (const std::runtime_error&) {
    return profiled_leaf(x);
  }
}
TARGET long profiled_exiting(int x) {
  if (profiled_leaf(x) == x) pthread_exit(nullptr);
  return 0;
}
static jmp_buf back;
TARGET int profiled_jumping(int x) {
  if (profiled_leaf(x) == x) longjmp(back, 1);
  return 0;
}

namespace libprobe {
namespace {

using test::calls_by_path;
using test::lost_nothing;
using test::row_of;

const std::string program = "system_profile_ends:";

profile_options options_for(std::vector<std::string> names) {
  for (auto& one : names) one = program + one;
  return {.functions = std::move(names)};
}

TEST(ProfileEnds, ExceptionsEndCalls) {
  profiler p{options_for({"profiled_catching", "profiled_throwing", "profiled_leaf"})};
  ASSERT_FALSE(p.start());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(test::opaque(profiled_catching)(i), i);
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(lost_nothing(report));
  EXPECT_EQ(row_of(report, "profiled_throwing").calls, 50U);
  EXPECT_EQ(row_of(report, "profiled_throwing").unwound, 50U);
  EXPECT_EQ(row_of(report, "profiled_throwing").latencies.count(), 50U);
  EXPECT_EQ(row_of(report, "profiled_catching").unwound, 0U);
  const auto paths = calls_by_path(report.call_tree);
  EXPECT_EQ(paths.at("profiled_catching;profiled_throwing;profiled_leaf"), 50U);
  EXPECT_EQ(paths.at("profiled_catching;profiled_leaf"), 50U);
}

// An unwinder that a profiler brought along would end the program here.
TEST(ProfileEnds, ExceptionsLeaveCallOnce) {
  auto options = options_for({"profiled_throwing"});
  options.sample_every = 1;
  profiler p{options};
  ASSERT_FALSE(p.start());
  std::once_flag flag;
  EXPECT_THROW(std::call_once(flag, [] { profiled_throwing(3); }), std::runtime_error);
  bool ran = false;
  std::call_once(flag, [&] { ran = true; });
  EXPECT_TRUE(ran);
}

TEST(ProfileEnds, LongjmpDoesNotConfuseCallers) {
  profiler p{options_for({"profiled_jumping", "profiled_outer", "profiled_inner", "profiled_leaf"})};
  ASSERT_FALSE(p.start());
  if (setjmp(back) == 0) profiled_jumping(1);
  for (int i = 0; i < 100; ++i) profiled_outer(1);
  p.stop();
  const auto report = p.report();
  EXPECT_EQ(row_of(report, "profiled_jumping").calls, 1U);
  EXPECT_EQ(row_of(report, "profiled_outer").latencies.count(), 100U);
  EXPECT_EQ(row_of(report, "profiled_outer").unwound, 0U);
  EXPECT_EQ(report.losses.untimed, 0U);
  // Nobody tells of a longjmp at once, but soon.
  EXPECT_GE(calls_by_path(report.call_tree)["profiled_outer"], 50U);
}

TEST(ProfileEnds, ThreadExitEndsCalls) {
  profiler p{options_for({"profiled_exiting", "profiled_leaf"})};
  ASSERT_FALSE(p.start());
  for (int i = 0; i < 10; ++i) {
    pthread_t thread{};
    const auto run = [](void*) -> void* { return reinterpret_cast<void*>(profiled_exiting(1) + 1); };
    ASSERT_EQ(pthread_create(&thread, nullptr, run, nullptr), 0);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
  }
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(lost_nothing(report));
  EXPECT_EQ(row_of(report, "profiled_exiting").calls, 10U);
  EXPECT_EQ(row_of(report, "profiled_exiting").unwound, 10U);
  EXPECT_EQ(row_of(report, "profiled_exiting").latencies.count(), 10U);
  EXPECT_EQ(calls_by_path(report.call_tree)["profiled_exiting;profiled_leaf"], 10U);
}

// Between a call's entry and its end the profiler stops and starts: the call stays untimed, and nothing hangs
// below it.
TEST(ProfileEnds, StoppedInsideACall) {
  profiler p{options_for({"profiled_outer", "profiled_leaf"})};
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  const auto hold = replace<int(int)>(program + "profiled_inner", [&](auto original, int x) {
    inside = true;
    while (!go_on) std::this_thread::yield();
    return original(x);
  });
  ASSERT_FALSE(p.start());
  std::thread caller{[] {
    profiled_outer(1);
    profiled_outer(1);
  }};
  while (!inside) std::this_thread::yield();
  p.stop();
  ASSERT_FALSE(p.start());
  go_on = true;
  caller.join();
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(lost_nothing(report));
  EXPECT_EQ(row_of(report, "profiled_outer").calls, 2U);
  EXPECT_EQ(row_of(report, "profiled_outer").latencies.count(), 1U);
  EXPECT_THAT(calls_by_path(report.call_tree),
              testing::ElementsAre(testing::Pair("profiled_leaf", 2), testing::Pair("profiled_outer", 2),
                                   testing::Pair("profiled_outer;profiled_leaf", 2)));
}

TEST(ProfileLosses, AreCounted) {
  auto options = options_for({"profiled_fibonacci"});
  options.trace_events = 5;
  options.maxactive = 3;
  profiler p{options};
  ASSERT_FALSE(p.start());
  EXPECT_EQ(test::opaque(profiled_fibonacci)(8), 21);
  p.stop();
  const auto report = p.report();
  const auto row = row_of(report, "profiled_fibonacci");
  EXPECT_EQ(report.events.size(), 5U);
  EXPECT_EQ(report.losses.events, row.calls - 5);
  EXPECT_GT(row.missed, 0U);
  EXPECT_EQ(row.calls + row.missed, 67U);  // of fibonacci(8)
}

TEST(ProfileLosses, CallsNestedTooDeep) {
  constexpr std::uint64_t kept = 4096;
  auto options = options_for({"profiled_deep"});
  options.maxactive = 8000;
  profiler p{options};
  ASSERT_FALSE(p.start());
  EXPECT_EQ(test::opaque(profiled_deep)(5999), 5999);
  EXPECT_EQ(test::opaque(profiled_deep)(9), 9);
  p.stop();
  const auto report = p.report();
  const auto row = row_of(report, "profiled_deep");
  EXPECT_EQ(row.calls, 6010U);
  EXPECT_EQ(row.latencies.count(), kept + 10);
  EXPECT_EQ(report.losses.untimed, 6000 - kept);
  EXPECT_EQ(row.missed, 0U);
}

}  // namespace
}  // namespace libprobe
