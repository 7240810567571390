// Spies: what they record, of which functions, and what they say.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <sys/mman.h>

#include <cstdlib>
#include <libprobe/testing.hpp>
#include <memory>
#include <stdexcept>
#include <thread>

#include "support/failures.hpp"
#include "support/probing.hpp"

namespace library {

struct account {
  [[gnu::noinline]] bool withdraw(int amount) {
    asm volatile("" : "+r"(amount)::"memory");
    return (balance -= amount) >= 0;
  }
  int balance = 100;
};

namespace {
[[gnu::noinline]] int parse(const char* text) {
  if (text == nullptr) throw std::invalid_argument{"null"};
  return libprobe::test::opaque(text)[0];
}
[[gnu::noinline]] std::string twice(std::string text) { return libprobe::test::opaque(&text)->append(text); }
[[gnu::noinline]] int& element(int* from, unsigned long at) { return libprobe::test::opaque(from)[at]; }
[[gnu::noinline]] double half(double of, float plus) { return libprobe::test::opaque(of) / 2 + plus; }
[[gnu::noinline]] void nothing() { asm volatile("" ::: "memory"); }
[[gnu::noinline]] int outer(int x) {
  libprobe::test::opaque (&nothing)();
  return x;
}
[[gnu::noinline]] int take(std::unique_ptr<int> what) { return *libprobe::test::opaque(what.get()); }
[[gnu::noinline]] int fail(int error) {
  errno = libprobe::test::opaque(error);
  return -1;
}
}  // namespace
}  // namespace library

namespace libprobe {
namespace {

using test::opaque;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::Gt;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;
using ::testing::StrEq;

TEST(Spy, CountsAndKeepsAStaticFunctionsCalls) {
  const spy s{&library::parse};
  EXPECT_EQ(opaque(&library::parse)("abc"), 'a');
  EXPECT_EQ(opaque(&library::parse)("xyz"), 'x');
  EXPECT_EQ(s.count(), 2U);
  EXPECT_THAT(s.calls(), SizeIs(2));
  EXPECT_THAT(s.arguments<0>(), ElementsAre("abc", "xyz"));
  EXPECT_THAT(s.results(), ElementsAre('a', 'x'));
  EXPECT_TRUE(s.was_called());
  EXPECT_TRUE(s.was_called(2));
  EXPECT_FALSE(s.was_called(1));
  EXPECT_EQ(s.name(), "library::(anonymous namespace)::parse(char const*)");
}

TEST(Spy, EndsWithItsScope) {
  {
    const spy s{&library::parse};
    EXPECT_FALSE(test::rows_at(test::code_of(&library::parse)).empty());
  }
  EXPECT_TRUE(test::rows_at(test::code_of(&library::parse)).empty());
}

TEST(Spy, ByNameInALibrary) {
  const spy<char*(const char*)> s{"libc.so.6:getenv"};
  opaque (&std::getenv)("NO_SUCH_VARIABLE");
  EXPECT_TRUE(s.was_called_with(StrEq("NO_SUCH_VARIABLE")));
  EXPECT_EQ(s.calls().back().result, nullptr);
  EXPECT_EQ(s.name(), "getenv");
}

TEST(Spy, OfAMember) {
  const spy s{&library::account::withdraw};
  library::account mine;
  EXPECT_TRUE(mine.withdraw(60));
  EXPECT_FALSE(mine.withdraw(60));
  EXPECT_TRUE(s.was_called_with(&mine, 60));
  EXPECT_THAT(s.results(), ElementsAre(true, false));
}

TEST(Spy, RefusedPlacesThrow) {
  using F = int(int);
  EXPECT_THROW(spy<F>{"no_such_function"}, std::system_error);
  EXPECT_THROW((spy<F>{static_cast<const void*>(test::code_of(&library::parse) + 1)}), std::system_error);
}

TEST(Spy, OneFunctionHasOneSignature) {
  const spy s{&library::parse};
  try {
    const spy<long(const char*)> other{"library::(anonymous namespace)::parse"};
    FAIL() << "taken";
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), HasSubstr("parse(char const*) with a different signature: int (char const*), "
                                        "not long (char const*)"));
  }
}

TEST(Spy, KindsOfArgumentsAndResults) {
  const spy strings{&library::twice};
  const spy references{&library::element};
  const spy floats{&library::half};
  const spy none{&library::nothing};
  EXPECT_EQ(opaque(&library::twice)("a long string, not a short one"),
            "a long string, not a short onea long string, not a short one");
  EXPECT_TRUE(strings.was_called_with(StartsWith("a long")));
  EXPECT_THAT(strings.results(), ElementsAre(EndsWith("onea long string, not a short one")));
  int numbers[] = {1, 2, 3};
  opaque (&library::element)(numbers, 1) = 5;
  EXPECT_EQ(numbers[1], 5);
  EXPECT_THAT(references.results(), ElementsAre(2));
  EXPECT_TRUE(references.was_called_with(static_cast<int*>(numbers), 1));
  EXPECT_EQ(opaque(&library::half)(3, 1), 2.5);
  EXPECT_TRUE(floats.was_called_with(3.0, Gt(0.5)));
  opaque (&library::nothing)();
  EXPECT_TRUE(none.was_called_with());
  const spy owners{&library::take};
  EXPECT_EQ(opaque(&library::take)(std::make_unique<int>(7)), 7);  // moved on, not kept
  EXPECT_TRUE(owners.was_called_with(anything));
}

TEST(Spy, WhatEndsByAnException) {
  const spy s{&library::parse};
  EXPECT_THROW(opaque(&library::parse)(nullptr), std::invalid_argument);
  ASSERT_THAT(s.calls(), SizeIs(1));
  EXPECT_EQ(s.calls()[0].state, call_state::threw);
  EXPECT_EQ(s.calls()[0].argument<0>().pointer, nullptr);
  EXPECT_THAT(s.results(), SizeIs(0));
  EXPECT_THAT(s.was_called(2).message(), HasSubstr("(null) threw"));
}

TEST(Spy, ErrnoIsSeenAndStays) {
  const spy s{&library::fail};
  errno = 0;
  EXPECT_EQ(opaque(&library::fail)(ENOSPC), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(s.calls()[0].error, ENOSPC);
}

// A const char* need not be a string.
TEST(Spy, TextIsReadWithCare) {
  const spy s{&library::parse};
  auto* const two_pages =
      static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_EQ(mprotect(two_pages + 4096, 4096, PROT_NONE), 0);
  two_pages[4094] = 'a';
  two_pages[4095] = 'b';  // and no zero
  opaque (&library::parse)(two_pages + 4094);
  munmap(two_pages, 8192);
  EXPECT_EQ(s.arguments<0>()[0], "ab");
  const std::string lengthy(1000, 'x');
  opaque (&library::parse)(lengthy.c_str());
  EXPECT_EQ(s.arguments<0>()[1], lengthy.substr(0, 244));
  EXPECT_TRUE(s.arguments<0>()[1].cut);
}

TEST(Spy, CallsByThread) {
  const spy everybody{&library::parse};
  const spy mine{&library::parse, this_thread};
  pid_t other = 0;
  std::thread{[&] {
    other = gettid();
    opaque (&library::parse)("there");
  }}.join();
  opaque (&library::parse)("here");
  EXPECT_THAT(everybody.arguments<0>(), ElementsAre("there", "here"));
  EXPECT_THAT(everybody.threads(), ::testing::UnorderedElementsAre(gettid(), other));
  ASSERT_THAT(everybody.calls_of(other), SizeIs(1));
  EXPECT_EQ(everybody.calls_of(other)[0].argument<0>(), "there");
  EXPECT_THAT(mine.arguments<0>(), ElementsAre("here"));
}

TEST(Spy, ManyThreadsAtOnce) {
  constexpr int rounds = 500;
  const spy s{&library::half};
  const auto work = [] {
    for (int i = 0; i < rounds; ++i) opaque (&library::half)(i, 0);
  };
  std::thread second{work};
  work();
  second.join();
  EXPECT_TRUE(s.was_called(2 * rounds));
  double sum = 0;
  for (const double result : s.results()) sum += result;
  EXPECT_EQ(sum, rounds * (rounds - 1) / 2);
  EXPECT_THAT(s.calls_of(gettid()), SizeIs(rounds));
}

TEST(Spy, MallocCanBeSpiedOn) {
  const spy<void*(std::size_t)> s{"libc.so.6:malloc", this_thread};
  void* const block = opaque(std::malloc(54321));
  std::free(block);
  EXPECT_TRUE(s.was_called_with(54321));
  EXPECT_TRUE(s.was_called_with([](std::size_t size) { return size == 54321; }));
  EXPECT_EQ(s.calls()[0].result, block);
}

TEST(Spy, WaitsForCalls) {
  spy s{&library::parse};
  std::thread later{[] { opaque (&library::parse)("a"); }};
  EXPECT_TRUE(s.ends_calls(1));
  later.join();
  EXPECT_THAT(s.ends_calls(2, std::chrono::milliseconds{5}).message(),
              HasSubstr("ended 1 calls within 5 ms, not 2"));
  s.clear();
  EXPECT_FALSE(s.was_called());
  opaque (&library::parse)("b");
  EXPECT_THAT(s.arguments<0>(), ElementsAre("b"));
}

TEST(Spy, ARunningCallIsSeen) {
  const spy s{&library::outer};
  pause_point inside{&library::nothing};
  std::thread other{[] { opaque (&library::outer)(5); }};
  ASSERT_TRUE(inside.wait_until_reached());
  ASSERT_THAT(s.calls(), SizeIs(1));
  EXPECT_EQ(s.calls()[0].state, call_state::running);
  EXPECT_THAT(s.was_called(2).message(), HasSubstr("(5) has not returned"));
  inside.release();
  other.join();
  EXPECT_EQ(s.calls()[0].state, call_state::returned);
}

// What failures say.

TEST(SpyMessage, NamesTheFunctionAndShowsWhatWasRecorded) {
  const spy s{&library::parse};
  EXPECT_EQ(s.was_called().message(),
            "library::(anonymous namespace)::parse(char const*) was not called\n"
            "recorded of library::(anonymous namespace)::parse(char const*): 0 calls");
  opaque (&library::parse)("abc");
  const auto me = std::to_string(gettid());
  EXPECT_EQ(s.was_called_with(StrEq("xyz")).message(),
            "library::(anonymous namespace)::parse(char const*) was not called with (is equal to \"xyz\")\n"
            "recorded of library::(anonymous namespace)::parse(char const*): 1 call\n"
            "  1. thread " +
                me + ": (\"abc\") -> 97");
  EXPECT_THAT(s.was_called_with("xyz").message(), HasSubstr("was not called with (\"xyz\")"));
  EXPECT_THAT(s.was_called_with(_).message(), StartsWith("recorded of "));
  EXPECT_THAT(s.was_called(3).message(), HasSubstr("was called 1 times, not 3"));
}

TEST(SpyMessage, IsGoogleTestsFailure) {
  const spy s{&library::parse};
  opaque (&library::parse)("abc");
  EXPECT_NONFATAL_FAILURE(EXPECT_TRUE(s.was_called(2)), "was called 1 times, not 2");
  EXPECT_NONFATAL_FAILURE(EXPECT_TRUE(s.was_called(2)), "(\"abc\") -> 97");
  EXPECT_NONFATAL_FAILURE(EXPECT_FALSE(s.was_called()), "(\"abc\") -> 97");
  EXPECT_NONFATAL_FAILURE(EXPECT_THAT(s.calls(), SizeIs(0)), "(\"abc\") -> 97");
  EXPECT_NONFATAL_FAILURE(expect(s.was_called(5)), "was called 1 times, not 5");
}

TEST(SpyMessage, LongListsAreCut) {
  const spy s{&library::half};
  for (int i = 0; i < 25; ++i) opaque (&library::half)(i, 0);
  const auto message = s.was_called(1).message();
  EXPECT_THAT(message, HasSubstr("20. thread"));
  EXPECT_THAT(message, ::testing::Not(HasSubstr("21. thread")));
  EXPECT_THAT(message, EndsWith("and 5 more"));
}

TEST(Reporter, IsToldTheLineOfTheCheck) {
  const spy s{&library::parse};
  const test::caught_failures caught;
  expect(s.was_called());
  const int line = __LINE__ - 1;
  ASSERT_THAT(caught.list(), SizeIs(1));
  EXPECT_EQ(caught.list()[0].at.line, line);
  EXPECT_STREQ(caught.list()[0].at.file, __FILE__);
}

}  // namespace
}  // namespace libprobe
