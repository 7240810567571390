// Whole stacks of sampled calls: the callers that are not profiled, what they weigh, and how often they are
// taken.
#include <gmock/gmock.h>

#include <numeric>
#include <thread>

#include "examples/sqlite/workload.hpp"
#include "support/probing.hpp"
#include "support/profiling.hpp"

#define TARGET extern "C" [[gnu::noinline, gnu::used]]

TARGET int sampled_leaf(int x) {
  asm volatile("" : "+r"(x));
  return x;
}
TARGET int sampled_middle(int x) { return sampled_leaf(x) + 1; }
TARGET int sampled_one(int x) { return sampled_middle(x) + 1; }
TARGET int sampled_other(int x) { return sampled_middle(x) + sampled_leaf(x) + 1; }

namespace libprobe {
namespace {

using testing::ElementsAre;

std::uint64_t argument(const function_info&, const registers& regs) {
  return static_cast<std::uint64_t>(regs.argument<int>(0));
}

// The innermost frames, outermost of them first.
std::vector<std::string> innermost(const profile_stack& stack, std::size_t count) {
  return {stack.frames.end() - static_cast<std::ptrdiff_t>(std::min(count, stack.frames.size())),
          stack.frames.end()};
}

const profile_stack& sample_with(const profile_report& report, const std::vector<std::string>& end) {
  static const profile_stack none;
  for (const auto& one : report.samples) {
    if (innermost(one, end.size()) == end) return one;
  }
  ADD_FAILURE() << "no such stack";
  return none;
}

TEST(ProfileSamples, TellCallersThatAreNotProfiled) {
  profiler p{{.functions = {"sampled_leaf"}, .sample_every = 1, .value = argument}};
  ASSERT_FALSE(p.start());
  for (int i = 0; i < 30; ++i) sampled_one(2);
  for (int i = 0; i < 20; ++i) sampled_other(3);
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(test::lost_nothing(report));
  ASSERT_EQ(report.samples.size(), 3U);
  const auto& by_one = sample_with(report, {"sampled_one", "sampled_middle", "sampled_leaf"});
  EXPECT_EQ(by_one.calls, 30U);
  EXPECT_EQ(by_one.value, 60U);
  EXPECT_THAT(by_one.frames, testing::Contains("main"));
  EXPECT_EQ(sample_with(report, {"sampled_other", "sampled_middle", "sampled_leaf"}).value, 60U);
  EXPECT_EQ(sample_with(report, {"sampled_other", "sampled_leaf"}).calls, 20U);
}

// Followed calls return to libprobe's slots; a stack shows the callers only, the profiled ones too.
TEST(ProfileSamples, ThroughFollowedCallers) {
  profiler p{{.functions = {"sampled_*"}, .sample_every = 1}};
  ASSERT_FALSE(p.start());
  sampled_other(1);
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(test::lost_nothing(report));
  ASSERT_EQ(report.samples.size(), 4U);
  const auto& whole = sample_with(report, {"sampled_other", "sampled_middle", "sampled_leaf"});
  EXPECT_EQ(std::ranges::count(whole.frames, "sampled_other"), 1);
  for (const auto& one : report.samples) {
    for (const auto& frame : one.frames) EXPECT_EQ(frame.find("libprobe_return"), std::string::npos) << frame;
  }
}

TEST(ProfileSamples, OneInSoMany) {
  constexpr std::uint64_t calls = 20'000;
  profiler p{{.functions = {"sampled_leaf"}, .sample_every = 10}};
  ASSERT_FALSE(p.start());
  for (std::uint64_t i = 0; i < calls; ++i) sampled_one(1);
  p.stop();
  const auto report = p.report();
  ASSERT_EQ(report.samples.size(), 1U);
  // The distance is 1 to 19 with equal chance: the estimate's standard deviation is 1.2 %.
  EXPECT_NEAR(static_cast<double>(report.samples[0].calls), calls, 0.1 * calls);
  EXPECT_EQ(report.samples[0].calls % 10, 0U);
  EXPECT_EQ(test::row_of(report, "sampled_leaf").calls, calls);
}

TEST(ProfileSamples, InThreads) {
  profiler p{{.functions = {"sampled_leaf"}, .sample_every = 1, .value = argument}};
  ASSERT_FALSE(p.start());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([] {
      for (int k = 0; k < 100; ++k) sampled_one(k);
    });
  }
  for (auto& one : threads) one.join();
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(test::lost_nothing(report));
  ASSERT_EQ(report.samples.size(), 1U);
  EXPECT_EQ(report.samples[0].calls, 400U);
  EXPECT_EQ(report.samples[0].value, 4U * 4950U);
}

std::uint64_t bytes(const function_info&, const registers& regs) { return regs.argument<std::size_t>(0); }

// What libc's malloc is asked for, by call site, against a count of its own.
TEST(ProfileSamples, AllocationsOfSqlite) {
  static std::atomic<std::uint64_t> asked;
  static std::atomic<std::uint64_t> times;
  asked = times = 0;
  workload::prepare();
  probe count{.at = "libc.so.6:malloc", .pre_handler = [](probe&, registers& regs) {
                asked += regs.argument<std::size_t>(0);
                ++times;
                return 0;
              }};
  profiler p{{.functions = {"libc.so.6:malloc"}, .sample_every = 1, .value = bytes}};
  std::atomic<std::uint64_t> steps{0};
  ASSERT_FALSE(register_probe(count));
  ASSERT_FALSE(p.start());
  workload::run(30, 1, steps);
  p.stop();
  unregister_probe(count);
  const auto report = p.report();
  EXPECT_EQ(report.losses.untimed + report.losses.samples, 0U);  // libprobe's own allocations are missed
  std::uint64_t value = 0;
  std::uint64_t calls = 0;
  std::uint64_t of_step = 0;
  for (const auto& one : report.samples) {
    EXPECT_EQ(one.frames.back(), "malloc");
    EXPECT_THAT(one.frames, testing::Contains("main"));
    value += one.value;
    calls += one.calls;
    if (std::ranges::find(one.frames, "sqlite3_step") != one.frames.end()) of_step += one.value;
  }
  // start() and stop() allocate, too: while the profiler sees it, no less than what SQLite does.
  EXPECT_LE(value, asked);
  EXPECT_LE(calls, times);
  EXPECT_EQ(calls, test::row_of(report, "malloc").calls);
  EXPECT_GT(of_step, value / 10);
}

}  // namespace
}  // namespace libprobe
