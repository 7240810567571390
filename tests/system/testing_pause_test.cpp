// Pause points: who stops, who goes on when, and what they say.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>

#include <libprobe/testing.hpp>
#include <optional>
#include <thread>

#include "support/failures.hpp"
#include "support/probing.hpp"
#include "support/racing.hpp"

namespace libprobe {
namespace {

using std::chrono::milliseconds;
using test::opaque;
using test::worker;
using ::testing::AllOf;
using ::testing::HasSubstr;

struct settings {
  int limit;
};
[[gnu::noinline]] void construct(settings* at) { opaque(at)->limit = 42; }

void add_one(int* counter) { racy_add(counter, 1); }

TEST(PausePoint, TheFirstToComeIsTheFirstToGo) {
  int counter = 0;
  std::optional<pause_point> p{"racy_add"};
  std::thread first{add_one, &counter};
  ASSERT_TRUE(p->wait_until_reached(1));
  std::thread second{add_one, &counter};
  ASSERT_TRUE(p->wait_until_reached(2));
  EXPECT_EQ(p->standing(), 2U);
  p->release();
  first.join();
  EXPECT_EQ(p->standing(), 1U);
  EXPECT_EQ(p->arrivals(), 2U);
  p.reset();  // lets the other go
  second.join();
  EXPECT_EQ(counter, 2);
}

TEST(PausePoint, StopsSoManyAndNoMore) {
  int counter = 0;
  pause_point p{"racy_add", {.stops = 1}};
  std::thread first{add_one, &counter};
  ASSERT_TRUE(p.wait_until_reached());
  add_one(&counter);
  EXPECT_EQ(p.standing(), 1U);
  p.release();
  first.join();
  p.release_all();
  EXPECT_EQ(counter, 2);
}

TEST(PausePoint, LetGoBeforeItComes) {
  int counter = 0;
  pause_point p{"racy_add"};
  p.release();
  add_one(&counter);
  EXPECT_EQ(p.arrivals(), 0U);
  p.release_all();
  add_one(&counter);
  EXPECT_EQ(counter, 2);
}

TEST(PausePoint, OnlyForAGroup) {
  int counter = 0;
  const thread_group ours;
  pause_point p{"racy_add", {.threads = ours}};
  add_one(&counter);
  std::thread member{[&] {
    const auto in = ours.join();
    add_one(&counter);
  }};
  ASSERT_TRUE(p.wait_until_reached());
  p.release();
  member.join();
  EXPECT_EQ(p.arrivals(), 1U);
}

// A thread that stands at one pause point keeps nobody from making and ending other fixtures.
TEST(PausePoint, OthersComeAndGoMeanwhile) {
  int counter = 0;
  pause_point p{"racy_add", {.limit = std::chrono::seconds{60}}};
  std::thread stands{add_one, &counter};
  ASSERT_TRUE(p.wait_until_reached());
  const auto begun = std::chrono::steady_clock::now();
  {
    const spy s{&construct};
    const reach r{&construct};
    const stub t{&construct, returns()};
    pause_point other{&construct, {.stops = 0}};
    const no_allocation none{&construct};
    settings memory{};
    opaque (&construct)(&memory);
    EXPECT_EQ(memory.limit, 0);
    EXPECT_TRUE(s.was_called() || r.happened());
  }
  EXPECT_EQ(p.standing(), 1U);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds{30});
  p.release();
  stands.join();
}

// Two tests of one process, each with its own threads, at the same place.
TEST(PausePoint, TestsThatRunAtOnceDoNotDisturbEachOther) {
  std::atomic<int> wrong{0};
  const auto a_test = [&](int by) {
    const thread_group ours;
    int counter = 0;
    worker other{[&] {
      const auto member = ours.join();
      racy_add(&counter, 1);
    }};
    for (int i = 0; i < 50; ++i) {
      pause_point between{"racy_add+0x2", {.threads = ours}};
      const spy s{&racy_add, ours};
      other.start();
      wrong += !between.wait_until_reached();
      counter += by;
      between.release();
      other.finish();
      wrong += between.arrivals() != 1 || s.count() != 1;
    }
    wrong += counter != 50;
  };
  std::thread second{a_test, 100};
  a_test(1000);
  second.join();
  EXPECT_EQ(wrong, 0);
}
TEST(PausePoint, NothingIsLeftBehind) {
  { const pause_point last{"racy_add"}; }
  EXPECT_TRUE(list_probes().empty()) << list_probes()[0];
}

TEST(PausePoint, RefusedPlacesThrow) {
  EXPECT_THROW(pause_point{"racy_add+0x1"}, std::system_error);
  EXPECT_THROW(pause_point{"no_such_function"}, std::system_error);
  EXPECT_TRUE(list_probes().empty());
}

// What failures say.

TEST(PausePointMessage, NobodyCame) {
  const pause_point p{"racy_add+0x2", {.limit = milliseconds{5}}};
  const auto missing = p.reached_by(1, milliseconds{5});
  EXPECT_FALSE(missing);
  EXPECT_THAT(
      missing.message(),
      AllOf(HasSubstr("pause point racy_add+0x2: 0 of 1 threads came within 5 ms\n  no thread came by"),
            HasSubstr("the process:\n  thread " + std::to_string(gettid()))));
  EXPECT_NONFATAL_FAILURE(p.wait_until_reached(), "racy_add+0x2: 0 of 1 threads came within 5 ms");
}

TEST(PausePointMessage, TellsWhatEachThreadDid) {
  int counter = 0;
  pid_t who = 0;
  pause_point elsewhere{&construct};
  settings memory{};
  std::thread other{[&] { construct(&memory); }};
  ASSERT_TRUE(elsewhere.wait_until_reached());
  pause_point p{"racy_add", {.stops = 1}};
  std::thread first{[&] {
    who = gettid();
    add_one(&counter);
  }};
  ASSERT_TRUE(p.wait_until_reached());
  add_one(&counter);
  const auto message = p.reached_by(2, milliseconds{5}).message();
  const auto me = std::to_string(gettid());
  EXPECT_THAT(message, HasSubstr("1 of 2 threads came within 5 ms\n  thread " + std::to_string(who) +
                                 " came and stood there\n  thread " + me + " passed without a stop\n"));
  EXPECT_THAT(message, HasSubstr("pause point libprobe::(anonymous namespace)::construct("));
  EXPECT_THAT(message, HasSubstr("\n  thread " + std::to_string(who) + " ("));
  EXPECT_THAT(message, HasSubstr(") runs"));
  EXPECT_THAT(message, HasSubstr(") waits"));
  p.release();
  first.join();
  EXPECT_THAT(p.reached_by(1, milliseconds{5}).message(),
              HasSubstr("thread " + std::to_string(who) + " was let go"));
  elsewhere.release();
  other.join();
}

TEST(PausePointMessage, ShowsTheLastEvents) {
  int counter = 0;
  pause_point p{"racy_add"};
  p.release_all();
  for (int i = 0; i < 100; ++i) add_one(&counter);
  const auto message = p.reached_by(1, milliseconds{0}).message();
  EXPECT_THAT(message, HasSubstr("\n  after 68 earlier events\n  thread "));
  std::size_t passed = 0;
  for (auto at = message.find("passed"); at != std::string::npos; at = message.find("passed", at + 1))
    ++passed;
  EXPECT_EQ(passed, 32U);
}

// A time limit instead of a hang.
TEST(PausePointMessage, AThreadThatIsForgottenGoesOnByItself) {
  const test::caught_failures caught;
  {
    int counter = 0;
    const pause_point p{"racy_add", {.limit = milliseconds{5}}};
    add_one(&counter);  // nobody lets this thread go
    EXPECT_EQ(counter, 1);
  }
  ASSERT_EQ(caught.list().size(), 1U);
  EXPECT_THAT(caught.list()[0].message,
              HasSubstr("pause point racy_add: a thread was not let go in time\n  thread " +
                        std::to_string(gettid()) + " came and stood there\n  thread " +
                        std::to_string(gettid()) + " was not let go in time and went on by itself"));
  EXPECT_STREQ(caught.list()[0].at.file, __FILE__);
}

}  // namespace
}  // namespace libprobe
