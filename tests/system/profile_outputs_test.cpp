// What is written for programs and for people, read back: of a run of SQLite, and of stacks made up.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "examples/sqlite/workload.hpp"
#include "support/profiling.hpp"

namespace libprobe {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const profile_report& report_of_sqlite() {
  static const profile_report report = [] {
    workload::prepare();
    profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*", "libc.so.6:__errno_location"},
                .sample_every = 50,
                .trace_events = 1'000'000}};
    EXPECT_FALSE(p.start());
    const auto work = [](std::uint64_t seed) {
      std::atomic<std::uint64_t> steps{0};
      workload::run(30, seed, steps);
    };
    std::thread other{work, 2};
    work(1);
    other.join();
    p.stop();
    return p.report();
  }();
  return report;
}

template <class... Arguments>
std::string written(void (*write)(std::ostream&, Arguments...),
                    std::type_identity_t<Arguments>... arguments) {
  std::ostringstream out;
  write(out, arguments...);
  return out.str();
}

TEST(ProfileOutputs, JsonHoldsTheReport) {
  const auto& report = report_of_sqlite();
  const auto read = json::parse(written(write_json, report));
  EXPECT_EQ(read["relative_error"], latency_histogram::relative_error);
  EXPECT_EQ(read["clock"], report.from_tsc ? "tsc" : "clock_gettime");
  ASSERT_EQ(read["functions"].size(), report.functions.size());
  for (std::size_t i = 0; i < report.functions.size(); ++i) {
    const auto& row = read["functions"][i];
    const auto& one = report.functions[i];
    EXPECT_EQ(row["name"], one.function.name);
    EXPECT_EQ(row["calls"], one.calls);
    EXPECT_DOUBLE_EQ(row["self_ns"], one.self_ns);
    EXPECT_DOUBLE_EQ(row["latency_ns"]["p99"], one.latencies.quantile(0.99));
    std::uint64_t in_buckets = 0;
    for (const auto& bucket : row["latency_ns"]["buckets"]) in_buckets += bucket[2].get<std::uint64_t>();
    EXPECT_EQ(in_buckets, one.latencies.count());
  }
  ASSERT_EQ(read["skipped"].size(), 1U);
  EXPECT_EQ(read["skipped"][0]["name"], "__errno_location");
  std::uint64_t calls = 0;
  for (const auto& stack : read["call_tree"]) calls += stack["calls"].get<std::uint64_t>();
  std::uint64_t expected = 0;
  for (const auto& one : report.functions) expected += one.calls;
  EXPECT_EQ(calls, expected);
  EXPECT_FALSE(read["samples"].empty());
}

TEST(ProfileOutputs, TraceHoldsEveryCallOfBothThreads) {
  const auto& report = report_of_sqlite();
  ASSERT_EQ(report.losses.events, 0U);
  const auto read = json::parse(written(write_trace, report));
  std::map<std::string, std::uint64_t> calls;
  std::map<int, std::vector<double>> open;  // of each thread: when the calls that are going on will end
  for (const auto& one : read["traceEvents"]) {
    EXPECT_EQ(one["ph"], "X");
    ++calls[one["name"]];
    auto& stack = open[one["tid"].get<int>()];
    const double start = one["ts"];
    const double end = start + one["dur"].get<double>();
    constexpr double rounding = 1e-3;  // microseconds
    while (!stack.empty() && stack.back() <= start + rounding) stack.pop_back();
    EXPECT_TRUE(stack.empty() || end <= stack.back() + rounding) << start << " to " << end;
    stack.push_back(end);
  }
  EXPECT_EQ(open.size(), 2U);
  for (const auto& one : report.functions)
    EXPECT_EQ(calls[one.function.name], one.calls) << one.function.name;
}

TEST(ProfileOutputs, FoldedStacksAddUp) {
  const auto& report = report_of_sqlite();
  std::istringstream lines{written(write_folded, report.call_tree, stack_weight::self_time)};
  double sum = 0;
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const auto blank = line.rfind(' ');
    ASSERT_NE(blank, std::string::npos);
    EXPECT_EQ(line.rfind("sqlite3_", 0), 0U) << line;
    sum += std::stod(line.substr(blank + 1));
  }
  double self = 0;
  for (const auto& one : report.functions) self += one.self_ns;
  EXPECT_NEAR(sum, self, static_cast<double>(count));  // whole nanoseconds
  EXPECT_GT(count, 50U);
}

TEST(ProfileOutputs, FoldedNamesStayApart) {
  const std::vector<profile_stack> stacks{{.frames = {"main", "f<a;b>(int)"}, .calls = 3},
                                          {.frames = {"main"}, .calls = 0}};
  EXPECT_EQ(written(write_folded, stacks, stack_weight::calls), "main;f<a,b>(int) 3\n");
}

TEST(ProfileOutputs, TableTellsFunctionsSkippedAndLost) {
  auto report = report_of_sqlite();
  report.losses.events = 17;
  const auto text = written(write_table, report, 10);
  EXPECT_THAT(text, HasSubstr("sqlite3_step"));
  EXPECT_THAT(text, HasSubstr("further functions"));
  EXPECT_THAT(text, HasSubstr("skipped: __errno_location"));
  EXPECT_THAT(text, HasSubstr("lost: 17 calls not in the timeline"));
  const auto whole = written(write_table, report, 0);
  EXPECT_THAT(whole, testing::Not(HasSubstr("further functions")));
  for (const auto& one : report.functions) {
    EXPECT_TRUE(one.calls == 0 || whole.find(one.function.name) != std::string::npos) << one.function.name;
  }
}

TEST(ProfileOutputs, OfNothing) {
  const profile_report none;
  EXPECT_THAT(written(write_table, none, 0), HasSubstr("0 of 0 functions"));
  EXPECT_TRUE(json::parse(written(write_trace, none))["traceEvents"].empty());
  EXPECT_TRUE(json::parse(written(write_json, none))["functions"].empty());
  EXPECT_THAT(written(write_flame_graph, none.call_tree, stack_weight::calls, "empty"), HasSubstr("</svg>"));
  EXPECT_THAT(written(write_latency_histogram, profiled_function{}), HasSubstr("0 calls timed"));
}

}  // namespace
}  // namespace libprobe
