// Stubs and faults, whose calls they touch, and tests that run at once in one process.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <cstdio>
#include <libprobe/testing.hpp>
#include <memory>
#include <stdexcept>
#include <thread>

#include "support/failures.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

[[gnu::noinline]] int twice(int x) { return opaque(x) * 2; }
[[gnu::noinline]] void set(int* to, int value) { *opaque(to) = value; }
int call(int x) { return opaque(&twice)(x); }

TEST(Stub, ReplacesForItsScope) {
  {
    const stub s{&twice, [](auto original, int x) { return original(x) + 1; }};
    EXPECT_EQ(call(5), 11);
    const stub constant{&twice, returns(-1)};
    EXPECT_EQ(call(5), -1);
    const stub quiet{&set, returns()};
    int value = 1;
    opaque (&set)(&value, 5);
    EXPECT_EQ(value, 1);
  }
  EXPECT_EQ(call(5), 10);
}

TEST(Stub, TheNewestComesFirstAndTheOthersFollow) {
  const stub plus{&twice, [](auto original, int x) { return original(x) + 1; }};
  const spy middle{&twice};
  auto times =
      std::make_unique<stub<int(int)>>(&twice, [](auto original, int x) { return original(x) * 10; });
  EXPECT_EQ(call(1), 30);
  EXPECT_THAT(middle.results(), ElementsAre(3));
  times.reset();
  EXPECT_EQ(call(1), 3);
}

TEST(Stub, MayOwnWhatCannotBeCopied) {
  auto bonus = std::make_unique<int>(100);
  const stub<int(int)> s{"libprobe::(anonymous namespace)::twice",
                         [bonus = std::move(bonus)](auto original, int x) { return original(x) + *bonus; }};
  EXPECT_EQ(call(1), 102);
}

TEST(Stub, MayBeTakenAwayInsideOfAnother) {
  std::unique_ptr<stub<int(int)>> other = std::make_unique<stub<int(int)>>(&twice, returns(1));
  const stub s{&set, [&](auto original, int* to, int value) {
                 other.reset();
                 original(to, value);
               }};
  int value = 0;
  opaque (&set)(&value, 5);
  EXPECT_EQ(value, 5);
  EXPECT_EQ(call(4), 8);
}

TEST(Stub, OnlyForThisThread) {
  const stub s{&twice, returns(-1), this_thread};
  int there = 0;
  std::thread{[&] { there = call(4); }}.join();
  EXPECT_EQ(there, 8);
  EXPECT_EQ(call(4), -1);
}

TEST(Stub, OnlyForAGroup) {
  const thread_group group;
  const stub s{&twice, returns(-1), group};
  EXPECT_EQ(call(4), 8);
  int inside = 0;
  int outside = 0;
  std::thread{[&] {
    {
      const auto member = group.join();
      inside = call(4);
    }
    outside = call(4);
  }}.join();
  EXPECT_EQ(inside, -1);
  EXPECT_EQ(outside, 8);
}

// Each thread is a test with fixtures of its own on the same functions, which come and go all the time.
TEST(Stub, TestsThatRunAtOnceDoNotDisturbEachOther) {
  constexpr int rounds = 150;
  std::atomic<int> wrong{0};
  const auto a_test = [&](int number) {
    for (int i = 0; i < rounds; ++i) {
      const spy s{&twice, this_thread};
      const stub other{&twice, [number](auto original, int x) { return original(x) + number; }, this_thread};
      fault f{&twice, call_number(2), fails_with(-number), this_thread};
      const int results[] = {call(1), call(1), call(i)};
      wrong += results[0] != 2 + number || results[1] != -number || results[2] != 2 * i + number;
      wrong += s.count() != 2 || f.failed() != 1 || f.calls() != 3;
    }
  };
  std::thread second{a_test, 1000};
  std::thread third{a_test, 2000};
  a_test(3000);
  second.join();
  third.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(call(3), 6);
}

// A fixture that ends while its callable is at work waits for it, but not for ever.
TEST(Stub, WaitsForACallThatIsInside) {
  std::atomic<bool> entered{false};
  std::atomic<bool> left{false};
  std::atomic<bool> go{false};
  auto s = std::make_unique<stub<int(int)>>(&twice, [&](auto original, int x) {
    entered = true;
    while (!go) std::this_thread::yield();
    const int result = original(x);
    left = true;
    return result;
  });
  std::thread other{[] { call(1); }};
  while (!entered) std::this_thread::yield();
  std::thread ends{[&] {
    s.reset();
    EXPECT_TRUE(left);
  }};
  go = true;
  ends.join();
  other.join();
}

TEST(Stub, DoesNotWaitForEver) {
  const auto limit = detail::end_limit.exchange(std::chrono::milliseconds{5});
  const test::caught_failures caught;
  static std::atomic<bool> entered{false};
  static std::atomic<bool> go{false};
  auto s = std::make_unique<stub<int(int)>>(&twice, [](auto original, int x) {
    entered = true;
    while (!go) std::this_thread::yield();
    return original(x);
  });
  int result = 0;
  std::thread other{[&] { result = call(1); }};
  while (!entered) std::this_thread::yield();
  s.reset();
  EXPECT_THAT(
      caught.messages(),
      ElementsAre("a fixture ends, but a call of libprobe::(anonymous namespace)::twice(int) does not "
                  "come out of it"));
  detail::end_limit = limit;
  EXPECT_EQ(call(2), 4);
  go = true;
  other.join();
  EXPECT_EQ(result, 2);
}

// Nobody waits for a call that sleeps in the function itself: it is not the fixture's.
TEST(Stub, EndsWhileAnotherThreadSleepsInTheFunction) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::atomic<bool> sleeps{false};
  std::thread sleeper;
  {
    const spy<ssize_t(int, void*, std::size_t)> mine{&::read, this_thread};
    sleeper = std::thread{[&] {
      char c = 0;
      sleeps = true;
      EXPECT_EQ(::read(ends[0], &c, 1), 1);
    }};
    while (!sleeps) std::this_thread::yield();
    std::this_thread::sleep_for(
        std::chrono::milliseconds{20});  // into read(), most likely: else less is tested
  }
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  sleeper.join();
  // What was left behind goes with the next fixture that ends.
  { const spy any{&twice}; }
  for (const auto& row : list_probes()) EXPECT_NE(row.symbol, "read");
  close(ends[0]);
  close(ends[1]);
}

TEST(Fault, ChosenCalls) {
  const auto fates = [](which_calls chosen) {
    fault f{&twice, chosen, fails_with(-1)};
    std::vector<int> results;
    for (int i = 1; i <= 6; ++i) results.push_back(call(i));
    return results;
  };
  EXPECT_THAT(fates(call_number(3)), ElementsAre(2, 4, -1, 8, 10, 12));
  EXPECT_THAT(fates(calls_from(5)), ElementsAre(2, 4, 6, 8, -1, -1));
  EXPECT_THAT(fates(which_calls::from_to(2, 4)), ElementsAre(2, -1, -1, -1, 10, 12));
  EXPECT_THAT(fates(every_nth_call(2)), ElementsAre(2, -1, 6, -1, 10, -1));
  EXPECT_THAT(fates(every_call()), ElementsAre(-1, -1, -1, -1, -1, -1));
}

TEST(Fault, ByPredicateWithErrno) {
  const fault<int(const char*, int, mode_t)> f{
      "libc.so.6:open", [](const char* path, int, mode_t) { return std::string{path} == "/dev/null"; },
      fails_with(-1, EMFILE), this_thread};
  errno = 0;
  EXPECT_EQ(::open("/dev/null", O_RDONLY), -1);
  EXPECT_EQ(errno, EMFILE);
  const int other = ::open("/dev/zero", O_RDONLY);
  EXPECT_GE(other, 0);
  ::close(other);
  EXPECT_EQ(f.calls(), 2U);
  EXPECT_EQ(f.failed(), 1U);
}

TEST(Fault, ByException) {
  const fault f{&twice, call_number(2), fails_throwing(std::runtime_error{"not today"})};
  EXPECT_EQ(call(1), 2);
  EXPECT_THROW(call(1), std::runtime_error);
  EXPECT_EQ(call(1), 2);
}

TEST(Fault, OneThatNobodyMetSaysSo) {
  const fault f{&twice, call_number(2), fails_with(-1)};
  call(1);
  EXPECT_FALSE(f.was_met());
  EXPECT_EQ(f.was_met().message(),
            "libprobe::(anonymous namespace)::twice(int) was called 1 times, 0 of them were made to fail");
  call(1);
  EXPECT_TRUE(f.was_met());
}

TEST(Reporter, WithoutAFrameworkFailuresAreThrown) {
  const auto googletest = set_failure_reporter([](const failure& f) { throw test_failure{f}; });
  try {
    expect({false, "it went wrong"}, {"file.cpp", 12});
    ADD_FAILURE() << "nothing thrown";
  } catch (const test_failure& thrown) {
    EXPECT_STREQ(thrown.what(), "file.cpp:12: it went wrong");
  }
  expect({true, "it went well"});
  set_failure_reporter(googletest);
}

}  // namespace
}  // namespace libprobe
