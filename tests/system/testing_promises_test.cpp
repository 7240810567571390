// What code must not do: reach a place, allocate, take locks in two orders. Each promise is kept once and
// broken once, and what it says then is looked at.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <libprobe/testing.hpp>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "support/failures.hpp"
#include "support/probing.hpp"

extern "C" int two_ways(int which);
asm(".text\n.globl two_ways\n.type two_ways, @function\ntwo_ways:\n"
    "  testl %edi, %edi\n"
    "  je 1f\n"
    "  movl $1, %eax\n"  // two_ways+0x4
    "  ret\n"
    "1: movl $2, %eax\n"  // two_ways+0xa
    "  ret\n"
    ".size two_ways, . - two_ways\n");

namespace libprobe {
namespace {

using test::opaque;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

TEST(Reach, CountsAnInstruction) {
  const reach first{"two_ways+0x4"};
  const reach second{"two_ways+0xa"};
  two_ways(1);
  two_ways(1);
  EXPECT_TRUE(first.happened());
  EXPECT_FALSE(first.did_not_happen());
  EXPECT_EQ(first.count(), 2U);
  EXPECT_TRUE(second.did_not_happen());
  const auto me = std::to_string(gettid());
  EXPECT_EQ(first.happened().message(), "two_ways+0x4 was reached 2 times, by thread " + me + ' ' + me);
  EXPECT_EQ(second.happened().message(), "two_ways+0xa was not reached");
}

TEST(Reach, ForThisThreadAlone) {
  const reach mine{"two_ways", this_thread};
  const reach all{"two_ways"};
  std::thread{[] { two_ways(0); }}.join();
  EXPECT_TRUE(mine.did_not_happen());
  EXPECT_EQ(all.count(), 1U);
}

TEST(Reach, PromisesAreLookedAtInTheEnd) {
  test::caught_failures caught;
  {
    const must_reach a{"two_ways+0x4"};
    const must_not_reach b{"two_ways+0xa"};
    two_ways(1);
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
  {
    const must_reach a{"two_ways+0x4"};
    const must_not_reach b{"two_ways+0xa"};
    two_ways(0);
  }
  EXPECT_THAT(caught.messages(),
              ElementsAre("two_ways+0xa was reached 1 time, by thread " + std::to_string(gettid()),
                          "two_ways+0x4 was not reached"));
  EXPECT_THROW(must_reach{"two_ways+0x1"}, std::system_error);
}

TEST(Reach, PromisesAreGoogleTestsFailures) {
  EXPECT_NONFATAL_FAILURE(must_reach{"two_ways"}, "two_ways was not reached");
}

// Allocation. A sanitizer's malloc is the sanitizer's affair: these tests are built without.

[[gnu::noinline]] int sum(const std::vector<int>& of) {
  int total = 0;
  for (const int x : opaque(&of)[0]) total += x;
  return total;
}
[[gnu::noinline]] std::size_t greedy(std::size_t n) {
  std::string text(n, 'x');
  return opaque(text.data()) != nullptr ? text.size() : 0;
}
[[gnu::noinline]] void throws_in_the_middle() {
  opaque (&greedy)(100);
  throw 1;
}

TEST(NoAllocation, InAScope) {
  test::caught_failures caught;
  const std::vector<int> numbers{1, 2, 3};
  {
    const no_allocation promise;
    EXPECT_EQ(opaque(&sum)(numbers), 6);
    std::thread::id nobody;  // nor does this
    EXPECT_TRUE(promise.kept());
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
  {
    const no_allocation promise;
    opaque (&greedy)(1000);
    EXPECT_EQ(promise.count(), 1U);
  }
  ASSERT_THAT(caught.messages(), SizeIs(1));
  EXPECT_THAT(
      caught.messages()[0],
      AllOf(HasSubstr(
                "the scope must not allocate, but made 1 allocation, 1001 bytes\n  malloc(1001) in thread " +
                std::to_string(gettid()) + " from operator new(unsigned long)+0x"),
            HasSubstr(" < libprobe::(anonymous namespace)::greedy(unsigned long)+0x"),
            HasSubstr(" < libprobe::(anonymous namespace)::NoAllocation_InAScope_Test::TestBody()+0x")));
}

TEST(NoAllocation, InAFunction) {
  test::caught_failures caught;
  {
    const no_allocation promise{&sum};
    const std::vector<int> numbers(1000, 1);  // outside of it
    EXPECT_EQ(opaque(&sum)(numbers), 1000);
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
  {
    const no_allocation promise{&greedy};
    opaque (&greedy)(1000);
    opaque (&greedy)(5);  // small enough for the string itself
    opaque (&greedy)(2000);
  }
  ASSERT_THAT(caught.messages(), SizeIs(1));
  EXPECT_THAT(caught.messages()[0],
              AllOf(HasSubstr("greedy(unsigned long) must not allocate, but made 2 allocations, 3002 bytes"),
                    HasSubstr("\n  malloc(1001) in thread"), HasSubstr("\n  malloc(2001) in thread")));
}

TEST(NoAllocation, InAFunctionThatIsLeftByAnException) {
  test::caught_failures caught;
  {
    const no_allocation promise{&throws_in_the_middle};
    EXPECT_THROW(opaque(&throws_in_the_middle)(), int);
    const auto within = promise.count();
    EXPECT_GE(within, 1U);   // the exception itself is one, too
    opaque (&greedy)(1000);  // no longer inside
    EXPECT_EQ(promise.count(), within);
  }
  EXPECT_THAT(caught.messages(), SizeIs(1));
}

TEST(NoAllocation, EveryKind) {
  const test::caught_failures caught;
  const no_allocation promise;
  std::size_t expected = 0;
  const auto one_more = [&](void* block) {
    std::free(opaque(block));
    EXPECT_EQ(promise.count(), ++expected);
  };
  one_more(std::malloc(10));
  one_more(std::calloc(10, 2));
  one_more(std::realloc(nullptr, 10));
  one_more(reallocarray(nullptr, 10, 2));
  one_more(std::aligned_alloc(64, 128));
  one_more(new char);
  one_more(strdup("abc"));
  void* aligned = nullptr;
  EXPECT_EQ(posix_memalign(&aligned, 64, 100), 0);
  one_more(aligned);
}

TEST(NoAllocation, OtherThreadsMay) {
  const test::caught_failures caught;
  {
    std::atomic<bool> go{false};
    std::thread other{[&] {
      while (!go) std::this_thread::yield();
      for (int i = 0; i < 100; ++i) opaque (&greedy)(1000);
    }};
    const no_allocation promise;
    go = true;
    other.join();
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
}

// The order of locks.

void both(std::mutex& first, std::mutex& second) {
  const std::lock_guard a{first};
  const std::lock_guard b{second};
}

TEST(LockOrder, OneOrderIsFine) {
  test::caught_failures caught;
  {
    lock_order order;
    std::mutex a, b, c;
    both(a, b);
    std::thread{[&] { both(a, b); }}.join();
    both(b, c);
    both(a, c);
    {
      const std::scoped_lock any{c, a};  // tries: fixes no order
    }
    EXPECT_TRUE(order.kept());
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
}

TEST(LockOrder, AnInversionIsReportedThoughNothingDeadlocks) {
  test::caught_failures caught;
  pid_t other = 0;
  {
    std::mutex a, b;
    lock_order order;
    order.name(&a, "accounts");
    order.name(&b, "log");
    std::thread{[&] {
      other = gettid();
      both(a, b);
    }}.join();
    both(b, a);
    both(b, a);  // said once
    EXPECT_FALSE(order.kept());
  }
  ASSERT_THAT(caught.messages(), SizeIs(1));
  EXPECT_THAT(caught.messages()[0],
              MatchesRegex("locks were taken in different orders\n"
                           "  thread " +
                           std::to_string(gettid()) +
                           " took accounts while it held log, at .*both.*\n"
                           "  thread " +
                           std::to_string(other) + " had taken log while it held accounts, at .*both[^\n]*"));
}

TEST(LockOrder, ThroughAChain) {
  test::caught_failures caught;
  {
    std::mutex a, b, c;
    lock_order order;
    both(a, b);
    both(b, c);
    EXPECT_TRUE(order.kept());
    both(c, a);
  }
  EXPECT_THAT(caught.messages(), ElementsAre(HasSubstr("different orders")));
}

TEST(LockOrder, ReadersAndWritersCount) {
  test::caught_failures caught;
  {
    std::shared_mutex a;
    std::mutex b;
    lock_order order;
    {
      const std::shared_lock reading{a};
      const std::lock_guard then{b};
    }
    const std::lock_guard first{b};
    const std::unique_lock writing{a};
  }
  EXPECT_THAT(caught.messages(), SizeIs(1));
}

TEST(LockOrder, RecursiveMutexesAreNoInversion) {
  test::caught_failures caught;
  {
    std::recursive_mutex a;
    std::mutex b;
    lock_order order;
    const std::lock_guard once{a};
    const std::lock_guard other{b};
    const std::lock_guard twice{a};
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
}

// Waiting for a condition takes its mutex anew, behind whatever else is held.
TEST(LockOrder, AConditionTakesItsMutexAnew) {
  test::caught_failures caught;
  {
    std::mutex a, b;
    std::condition_variable changed;
    lock_order order;
    std::unique_lock first{a};
    const std::lock_guard second{b};
    changed.wait_for(first, std::chrono::milliseconds{1});  // a after b
  }
  EXPECT_THAT(caught.messages(), SizeIs(1));
}

TEST(LockOrder, AMutexThatHasGoneIsForgotten) {
  test::caught_failures caught;
  {
    pthread_mutex_t a = PTHREAD_MUTEX_INITIALIZER;
    std::mutex b, c;
    lock_order order;
    pthread_mutex_lock(&a);
    b.lock();
    b.unlock();
    pthread_mutex_unlock(&a);
    pthread_mutex_destroy(&a);
    a = PTHREAD_MUTEX_INITIALIZER;  // another one
    both(b, c);
    order.forget(&c);
    b.lock();
    pthread_mutex_lock(&a);
    pthread_mutex_unlock(&a);
    b.unlock();
    both(c, b);
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
}

TEST(LockOrder, ForThisThreadAlone) {
  test::caught_failures caught;
  {
    std::mutex a, b;
    lock_order order{this_thread};
    both(a, b);
    std::thread{[&] { both(b, a); }}.join();
  }
  EXPECT_THAT(caught.messages(), IsEmpty());
}

}  // namespace
}  // namespace libprobe
