// Profiles of SQLite at work: counted against the workload's own numbers and against other probes; the
// library's results and its text stay as they were.
#include <dlfcn.h>
#include <gmock/gmock.h>

#include <atomic>
#include <fstream>
#include <set>
#include <thread>

#include "examples/sqlite/workload.hpp"
#include "support/probing.hpp"
#include "support/profiling.hpp"

namespace libprobe {
namespace {

constexpr std::uint64_t rows = 60;

workload::outcome work(std::uint64_t seed = 1) {
  std::atomic<std::uint64_t> steps{0};
  return workload::run(rows, seed, steps);
}

std::uint64_t own_count(const workload::outcome& of, std::string_view name) {
  for (std::size_t i = 0; i < std::size(workload::call_names); ++i) {
    if (workload::call_names[i] == name) return of.calls[i];
  }
  return 0;
}

class ProfileOfSqlite : public testing::TestWithParam<profile_detail> {
 protected:
  static void SetUpTestSuite() { workload::prepare(); }
};

// SQLite calls some of these itself; those that only the program calls must agree with it exactly.
constexpr std::string_view called_by_program_only[] = {"sqlite3_bind_double", "sqlite3_column_double"};

TEST_P(ProfileOfSqlite, CountsEveryCall) {
  const auto expected = work();
  profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*"}, .detail = GetParam()}};
  // The count by another kind of probe, of calls from inside the library too.
  std::map<std::string, std::uint64_t> hits_of;
  jprobe others[] = {{.at = "sqlite3_malloc64"},
                     {.at = "sqlite3_free"},
                     {.at = "sqlite3_step"},
                     {.at = "sqlite3_value_type"}};
  for (auto& one : others) {
    one.entry = reinterpret_cast<void*>(+[] {});
    ASSERT_FALSE(register_jprobe(one)) << last_error_detail();
  }
  ASSERT_FALSE(p.start());
  const auto seen = work();
  p.stop();
  for (auto& one : others) unregister_jprobe(one);

  EXPECT_EQ(seen.digest, expected.digest);
  const auto report = p.report();
  EXPECT_TRUE(test::lost_nothing(report));
  EXPECT_EQ(test::row_of(report, "sqlite3_step").missed, 0U);
  for (const auto name : called_by_program_only)
    EXPECT_EQ(test::row_of(report, name).calls, own_count(expected, name)) << name;
  for (const auto name : workload::call_names)
    EXPECT_GE(test::row_of(report, name).calls, own_count(expected, name)) << name;
  for (const auto& one : others) {
    const auto& name = one.at.name();
    EXPECT_GT(hits(one), 0U) << name;
    EXPECT_EQ(test::row_of(report, name).calls, hits(one)) << name;
  }
}

TEST_P(ProfileOfSqlite, IsGoneWhenStopped) {
  const auto functions = list_functions("libsqlite3.so.0:sqlite3_*");
  std::vector<std::vector<std::uint8_t>> before;
  for (const auto& one : functions) before.push_back(test::bytes_at(one.address, one.size));
  profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*"}, .detail = GetParam()}};
  EXPECT_TRUE(list_probes().empty());
  ASSERT_FALSE(p.start());
  EXPECT_TRUE(p.running());
  EXPECT_GT(list_probes().size(), functions.size() * 9 / 10);
  work();
  p.stop();
  EXPECT_FALSE(p.running());
  EXPECT_TRUE(list_probes().empty());
  for (std::size_t i = 0; i < functions.size(); ++i) {
    EXPECT_EQ(test::bytes_at(functions[i].address, functions[i].size), before[i]) << functions[i].name;
  }
  const auto calls = test::row_of(p.report(), "sqlite3_step").calls;
  work();  // not seen
  EXPECT_EQ(test::row_of(p.report(), "sqlite3_step").calls, calls);
  ASSERT_FALSE(p.start());  // and on
  const auto again = work();
  p.stop();
  EXPECT_EQ(test::row_of(p.report(), "sqlite3_bind_double").calls,
            2 * own_count(again, "sqlite3_bind_double"));
}

TEST_P(ProfileOfSqlite, StartsAndStopsWhileThreadsWork) {
  const auto expected = work(7).digest;
  std::atomic<bool> ended{false};
  std::atomic<unsigned> wrong{0};
  std::atomic<unsigned> runs{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      do {
        if (work(7).digest != expected) ++wrong;
        ++runs;
      } while (!ended);
    });
  }
  profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*"}, .detail = GetParam()}};
  std::uint64_t before = 0;
  for (int i = 0; i < 10; ++i) {
    ASSERT_FALSE(p.start());
    const auto until = test::row_of(p.report(), "sqlite3_step").calls + 20;
    while (test::row_of(p.report(), "sqlite3_step").calls < until) std::this_thread::yield();
    p.stop();
    const auto calls = test::row_of(p.report(), "sqlite3_step").calls;
    EXPECT_GT(calls, before);
    before = calls;
  }
  ended = true;
  for (auto& one : threads) one.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(test::row_of(p.report(), "sqlite3_step").calls, before);
}

INSTANTIATE_TEST_SUITE_P(Details, ProfileOfSqlite,
                         testing::Values(profile_detail::calls, profile_detail::times), [](const auto& of) {
                           return of.param == profile_detail::calls ? "Calls" : "Times";
                         });

TEST(ProfileChoice, LeavesOutWhatIsExcepted) {
  profiler p{{.functions = {"libsqlite3.so.0:sqlite3_bind_*", "libsqlite3.so.0:sqlite3_bind_int"},
              .except = {"libsqlite3.so.0:*_text*", "sqlite3_bind_blob"}}};
  std::multiset<std::string> names;
  for (const auto& one : p.report().functions) names.insert(one.function.name);
  EXPECT_EQ(names.count("sqlite3_bind_int"), 1U);  // once, though two patterns fit
  EXPECT_EQ(names.count("sqlite3_bind_text"), 0U);
  EXPECT_EQ(names.count("sqlite3_bind_text16"), 0U);
  EXPECT_EQ(names.count("sqlite3_bind_blob"), 0U);
  EXPECT_EQ(names.count("sqlite3_bind_blob64"), 1U);
}

TEST(ProfileChoice, DemangledGlobsInLibstdcxx) {
  profiler p{{.functions = {"libstdc++.so.6:std::__basic_file<char>::*"},
              .except = {"libstdc++.so.6:std::__basic_file<char>::is_open*"}}};
  ASSERT_FALSE(p.start());
  for (int i = 0; i < 5; ++i) std::ofstream{"/dev/null"} << "some text";
  p.stop();
  const auto report = p.report();
  EXPECT_TRUE(test::lost_nothing(report));
  EXPECT_EQ(test::row_of(report, "std::__basic_file<char>::open").calls, 5U);
  EXPECT_GE(test::row_of(report, "std::__basic_file<char>::close").calls, 5U);
  for (const auto& one : report.functions) EXPECT_EQ(one.function.name.find("is_open"), std::string::npos);
}

TEST(ProfileChoice, RefusedFunctionsAreSkippedAndTold) {
  // __errno_location is libprobe's own way to errno.
  profiler p{{.functions = {"libc.so.6:atoi", "libc.so.6:__errno_location", "libc.so.6:strtoul",
                            "no_such_function_*"}}};
  ASSERT_FALSE(p.start());
  EXPECT_EQ(test::opaque(std::atoi)("12"), 12);
  p.stop();
  const auto report = p.report();
  ASSERT_EQ(report.skipped.size(), 2U);
  EXPECT_EQ(report.skipped[0].name, "no_such_function_*");
  EXPECT_EQ(report.skipped[0].why, errc::symbol_not_found);
  EXPECT_EQ(report.skipped[1].name, "__errno_location");
  EXPECT_EQ(report.skipped[1].why, errc::denied_address);
  EXPECT_EQ(report.functions.size(), 2U);
  EXPECT_EQ(test::row_of(report, "atoi").calls, 1U);
}

TEST(ProfileChoice, NothingLeftIsAnError) {
  profiler none{{.functions = {"no_such_function_*"}}};
  EXPECT_EQ(none.start(), errc::symbol_not_found);
  EXPECT_FALSE(none.running());
  profiler refused{{.functions = {"libc.so.6:__errno_location"}}};
  EXPECT_EQ(refused.start(), errc::denied_address);
  EXPECT_FALSE(refused.running());
  EXPECT_EQ(refused.report().functions.size(), 0U);
}

}  // namespace
}  // namespace libprobe
