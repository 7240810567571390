// Times, latencies and call trees: against the single calls that the profiler keeps for its timeline, in
// recursion, in threads that come and go, in many profilers at once and in a child.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <memory>
#include <random>
#include <thread>

#include "examples/sqlite/workload.hpp"
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
[[gnu::noinline, gnu::used]] std::chrono::steady_clock::duration profiled_clock() {
  const auto begin = std::chrono::steady_clock::now();
  profiled_leaf(20'000'000);
  return std::chrono::steady_clock::now() - begin;
}

namespace libprobe {
namespace {

using test::calls_by_path;
using test::lost_nothing;
using test::row_of;

const std::string program = "system_profile_times:";

profile_options options_for(std::vector<std::string> names) {
  for (auto& one : names) one = program + one;
  return {.functions = std::move(names)};
}

TEST(ProfileTimes, SelfAndTotalAddUp) {
  auto options = options_for({"profiled_outer", "profiled_inner", "profiled_leaf"});
  options.trace_events = 1000;
  profiler p{options};
  ASSERT_FALSE(p.start());
  for (int i = 0; i < 100; ++i) profiled_outer(i);
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(lost_nothing(report));
  const auto outer = row_of(report, "profiled_outer");
  const auto inner = row_of(report, "profiled_inner");
  const auto leaf = row_of(report, "profiled_leaf");
  EXPECT_EQ(outer.calls, 100U);
  EXPECT_EQ(inner.calls, 100U);
  EXPECT_EQ(leaf.calls, 200U);
  EXPECT_GT(leaf.self_ns, 0);
  EXPECT_EQ(leaf.self_ns, leaf.total_ns);
  EXPECT_LT(inner.self_ns, inner.total_ns);
  EXPECT_NEAR(outer.self_ns + inner.self_ns + leaf.self_ns, outer.total_ns, 1e-6 * outer.total_ns);
  EXPECT_THAT(calls_by_path(report.call_tree),
              testing::ElementsAre(testing::Pair("profiled_outer", 100),
                                   testing::Pair("profiled_outer;profiled_inner", 100),
                                   testing::Pair("profiled_outer;profiled_inner;profiled_leaf", 100),
                                   testing::Pair("profiled_outer;profiled_leaf", 100)));
  ASSERT_EQ(report.events.size(), 400U);
  double of_outer = 0;
  for (const auto& one : report.events) {
    if (report.functions[one.function].function.name == "profiled_outer") of_outer += one.duration_ns;
  }
  EXPECT_NEAR(of_outer, outer.total_ns, 1e-6 * outer.total_ns);
}

// Calls of one thread nest, and the sum of all self times is that of the outermost calls.
TEST(ProfileTimes, OfSqliteAddUp) {
  workload::prepare();
  std::atomic<std::uint64_t> steps{0};
  profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*"}, .trace_events = 1'000'000}};
  ASSERT_FALSE(p.start());
  workload::run(60, 3, steps);
  p.stop();
  const auto report = p.report();
  ASSERT_TRUE(lost_nothing(report));
  double self = 0;
  std::uint64_t calls = 0;
  for (const auto& one : report.functions) {
    EXPECT_LE(one.self_ns, one.total_ns * (1 + 1e-9)) << one.function.name;
    EXPECT_EQ(one.latencies.count(), one.calls) << one.function.name;
    self += one.self_ns;
    calls += one.calls;
  }
  EXPECT_EQ(report.events.size(), calls);
  double outermost = 0;
  double end = -1;
  for (const auto& one : report.events) {
    if (one.start_ns < end) {
      ASSERT_LE(one.start_ns + one.duration_ns, end + 1);  // inside; the clock's ticks are whole
      continue;
    }
    outermost += one.duration_ns;
    end = one.start_ns + one.duration_ns;
  }
  EXPECT_NEAR(self, outermost, 1e-6 * outermost);
}

TEST(ProfileTimes, QuantilesAreAsExactAsStated) {
  constexpr std::size_t calls = 5000;
  auto options = options_for({"profiled_leaf"});
  options.trace_events = calls;
  profiler p{options};
  std::mt19937 random{5};
  ASSERT_FALSE(p.start());
  for (std::size_t i = 0; i < calls; ++i) profiled_leaf(static_cast<int>(random() % 3000));
  p.stop();
  const auto report = p.report();
  std::vector<double> sorted;
  for (const auto& one : report.events) sorted.push_back(one.duration_ns);
  ASSERT_EQ(sorted.size(), calls);
  std::ranges::sort(sorted);
  const auto& latencies = row_of(report, "profiled_leaf").latencies;
  ASSERT_EQ(latencies.count(), calls);
  for (int i = 0; i <= 1000; ++i) {
    const auto rank = std::max<std::size_t>((calls * static_cast<std::size_t>(i) + 999) / 1000, 1);
    const double exact = sorted[rank - 1];
    // Calibration is asked once a report, so both are in the same nanoseconds.
    EXPECT_NEAR(latencies.quantile(i / 1000.0), exact, exact * latency_histogram::relative_error * (1 + 1e-9))
        << i;
  }
}

// By the CPU's counter where there is one, and by the system's clock on request: no less than what the
// function itself measures, no more than what its caller does.
TEST(ProfileTimes, NanosecondsAreThoseOfTheSystemsClock) {
  using std::chrono::steady_clock;
  using nanoseconds = std::chrono::duration<double, std::nano>;
  for (const bool system_clock : {false, true}) {
    auto options = options_for({"profiled_clock"});
    options.system_clock = system_clock;
    profiler p{options};
    ASSERT_FALSE(p.start());
    const auto begin = steady_clock::now();
    const nanoseconds inside = test::opaque(profiled_clock)();
    const nanoseconds outside = steady_clock::now() - begin;
    p.stop();
    const auto report = p.report();
    EXPECT_FALSE(system_clock && report.from_tsc);
    const double told = row_of(report, "profiled_clock").total_ns;
    EXPECT_GE(told, inside.count() * 0.999);  // calibration
    EXPECT_LE(told, outside.count() * 1.001);
    EXPECT_GE(report.running_ns, inside.count());
  }
}

TEST(ProfileTimes, RecursionCountsItsTimeOnce) {
  auto options = options_for({"profiled_fibonacci"});
  options.trace_events = 1000;
  profiler p{options};
  ASSERT_FALSE(p.start());
  EXPECT_EQ(test::opaque(profiled_fibonacci)(10), 55);
  p.stop();
  const auto report = p.report();
  const auto row = row_of(report, "profiled_fibonacci");
  EXPECT_TRUE(lost_nothing(report));
  EXPECT_EQ(row.calls, 177U);
  EXPECT_EQ(row.latencies.count(), 177U);
  const auto outermost = std::ranges::max_element(report.events, {}, &profile_event::duration_ns);
  EXPECT_NEAR(row.total_ns, outermost->duration_ns, 1e-6 * row.total_ns);
  EXPECT_NEAR(row.self_ns, row.total_ns, 1e-6 * row.total_ns);
}

TEST(ProfileTimes, ThreadsThatComeAndGo) {
  const auto virtual_pages = [] {
    std::uint64_t pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages;
    return pages;
  };
  profiler p{options_for({"profiled_outer", "profiled_inner", "profiled_leaf"})};
  ASSERT_FALSE(p.start());
  const auto work = [] { std::thread{[] { profiled_outer(1); }}.join(); };
  for (int i = 0; i < 20; ++i) work();
  const auto before = virtual_pages();
  for (int i = 0; i < 200; ++i) work();
  // A buffer of their own for each would be some 1,000 pages.
  EXPECT_LT(virtual_pages(), before + 20'000);
  std::vector<std::thread> together;
  for (int i = 0; i < 16; ++i) {
    together.emplace_back([] {
      for (int k = 0; k < 100; ++k) profiled_outer(k);
    });
  }
  for (auto& one : together) one.join();
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(lost_nothing(report));
  EXPECT_EQ(row_of(report, "profiled_outer").calls, 220U + 1600U);
  EXPECT_EQ(row_of(report, "profiled_leaf").latencies.count(), 2 * (220U + 1600U));
  EXPECT_EQ(report.call_tree.size(), 4U);
}

TEST(ProfileTimes, TwoProfilersAtOnce) {
  profiler one{options_for({"profiled_outer", "profiled_leaf"})};
  profiler other{options_for({"profiled_leaf"})};
  ASSERT_FALSE(one.start());
  profiled_outer(1);
  ASSERT_FALSE(other.start());
  for (int i = 0; i < 10; ++i) profiled_outer(1);
  one.stop();
  profiled_outer(1);
  other.stop();
  EXPECT_EQ(row_of(one.report(), "profiled_outer").calls, 11U);
  EXPECT_EQ(row_of(other.report(), "profiled_leaf").latencies.count(), 22U);
}

// More than a thread remembers the buffers of.
TEST(ProfileTimes, ManyProfilersAtOnce) {
  std::vector<std::unique_ptr<profiler>> many;
  for (int i = 0; i < 20; ++i) {
    many.push_back(std::make_unique<profiler>(options_for({"profiled_outer", "profiled_leaf"})));
    ASSERT_FALSE(many.back()->start());
    profiled_outer(1);
  }
  for (std::size_t i = 0; i < many.size(); ++i) {
    many[i]->stop();
    const auto report = many[i]->report();
    EXPECT_TRUE(lost_nothing(report));
    EXPECT_EQ(row_of(report, "profiled_leaf").latencies.count(), 2 * (many.size() - i));
    EXPECT_EQ(calls_by_path(report.call_tree)["profiled_outer;profiled_leaf"], 2 * (many.size() - i));
  }
}

// The threads of a child write to buffers of their own, though those that it inherits look as if nobody owned
// them.
TEST(ProfileTimes, GoesOnInAChild) {
  profiler p{options_for({"profiled_outer", "profiled_inner", "profiled_leaf"})};
  ASSERT_FALSE(p.start());
  profiled_outer(1);
  const auto status = test::status_of_child([&] {
    constexpr unsigned calls = 2000;
    const auto work = [] {
      for (unsigned i = 0; i < calls; ++i) profiled_outer(1);
    };
    profiled_outer(1);
    std::thread one{work};
    std::thread other{work};
    work();
    one.join();
    other.join();
    const auto report = p.report();
    const bool right =
        lost_nothing(report) && row_of(report, "profiled_outer").latencies.count() == 2 + 3 * calls &&
        row_of(report, "profiled_leaf").calls == 2 * (2 + 3 * calls) && report.call_tree.size() == 4;
    return right ? 0 : 1;
  });
  EXPECT_EQ(test::told(status), test::exited_with(0));
  profiled_outer(1);
  p.stop();
  EXPECT_EQ(row_of(p.report(), "profiled_outer").calls, 2U);
}

}  // namespace
}  // namespace libprobe
