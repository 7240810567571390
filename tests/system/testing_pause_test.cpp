// Pause points: real races, each forced into its one bad interleaving 1,000 times of 1,000.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <pthread.h>

#include <condition_variable>
#include <libprobe/testing.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "support/failures.hpp"
#include "support/probing.hpp"

// Two instructions where `lock addl` should be one: offset 0 loads, offset 2 is between, offset 4 stores.
extern "C" void racy_add(int* counter, int by);
asm(".text\n.globl racy_add\n.type racy_add, @function\nracy_add:\n"
    "  movl (%rdi), %eax\n"
    "  addl %esi, %eax\n"
    "  movl %eax, (%rdi)\n"
    "  ret\n"
    ".size racy_add, . - racy_add\n");

namespace libprobe {
namespace {

using std::chrono::milliseconds;
using test::opaque;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int rounds = 1000;

/// A thread that does the same work again and again, a turn whenever it is told.
class worker {
 public:
  template <class Work>
  explicit worker(Work work)
      : thread_{[this, work] {
          for (int done = 0;
               turns_.wait([&](auto turns) { return turns > static_cast<unsigned>(done); }, never); ++done) {
            if (stop_) return;
            work();
            done_.add();
          }
        }} {}
  ~worker() {
    stop_ = true;
    turns_.add();
    thread_.join();
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  void start() { turns_.add(); }
  void finish() {
    ++expected_;
    ASSERT_TRUE(done_.wait([&](auto done) { return done >= expected_; },
                           detail::signal_safe_event::now() + std::chrono::seconds{10}));
  }

 private:
  static constexpr std::chrono::nanoseconds never = std::chrono::nanoseconds::max();
  detail::signal_safe_event turns_;
  detail::signal_safe_event done_;
  std::atomic<bool> stop_{false};
  unsigned expected_ = 0;
  std::thread thread_;
};

// A double-checked lock without its barrier. On x86 the CPU keeps stores in their order, so what breaks it is
// the compiler: nothing says that the constructor's stores come before the store of the pointer, and inlined
// it may put them behind. That order is written out here, so that every compiler makes it. The bad
// interleaving: the first thread has stored the pointer and stands before the constructor; the second finds
// the pointer at its first, unlocked look, and uses an object that is not there yet.
struct settings {
  int limit;
};
[[gnu::noinline]] void construct(settings* at) { opaque(at)->limit = 42; }

struct lazy_settings {
  std::mutex lock;
  std::atomic<settings*> one{nullptr};
  settings memory{};

  settings* get_without_barrier() {
    settings* seen = one.load(std::memory_order_relaxed);
    if (seen != nullptr) return seen;
    const std::lock_guard guard{lock};
    seen = one.load(std::memory_order_relaxed);
    if (seen != nullptr) return seen;
    one.store(&memory, std::memory_order_relaxed);
    construct(&memory);
    return &memory;
  }
  settings* get() {
    settings* seen = one.load(std::memory_order_acquire);
    if (seen != nullptr) return seen;
    const std::lock_guard guard{lock};
    seen = one.load(std::memory_order_relaxed);
    if (seen != nullptr) return seen;
    construct(&memory);
    one.store(&memory, std::memory_order_release);
    return &memory;
  }
};

TEST(Race, DoubleCheckedLockWithoutItsBarrier) {
  std::optional<lazy_settings> lazy;
  worker first{[&] { lazy->get_without_barrier(); }};
  pause_point before_construction{&construct};
  int half_made = 0;
  for (int i = 0; i < rounds; ++i) {
    lazy.emplace();
    first.start();
    ASSERT_TRUE(before_construction.wait_until_reached(static_cast<unsigned>(i + 1)));
    half_made += lazy->get_without_barrier()->limit != 42;
    before_construction.release();
    first.finish();
    EXPECT_EQ(lazy->get_without_barrier()->limit, 42);
  }
  EXPECT_EQ(half_made, rounds);
}

TEST(Race, DoubleCheckedLockWithItsBarrier) {
  std::optional<lazy_settings> lazy;
  std::atomic<int> seen{0};
  worker first{[&] { lazy->get(); }};
  worker second{[&] { seen = lazy->get()->limit; }};
  pause_point before_construction{&construct};
  pause_point before_lock{&pthread_mutex_lock};  // each thread passes here on its way to be the first
  int right = 0;
  for (unsigned i = 0; i < rounds; ++i) {
    lazy.emplace();
    seen = 0;
    first.start();
    ASSERT_TRUE(before_lock.wait_until_reached(2 * i + 1));
    before_lock.release();
    ASSERT_TRUE(before_construction.wait_until_reached(i + 1));
    second.start();
    // The second found no pointer, and goes to wait for the lock.
    ASSERT_TRUE(before_lock.wait_until_reached(2 * i + 2));
    before_lock.release();
    before_construction.release();
    first.finish();
    second.finish();
    right += seen == 42;
  }
  EXPECT_EQ(right, rounds);
}

// A wake-up that is lost: the consumer looks, and only then takes the lock and waits; the producer, which
// takes no lock, comes in between. Nobody will wake the consumer again: however long it waits, its time runs
// out while the mail lies there.
struct mailbox {
  std::mutex lock;
  std::condition_variable changed;
  std::atomic<bool> full{false};

  void put_without_lock() {
    full = true;
    changed.notify_one();
  }
  bool wait_looking_too_early(milliseconds limit) {
    if (full) return true;
    std::unique_lock guard{lock};
    return changed.wait_for(guard, limit) == std::cv_status::no_timeout;
  }
  void put() {
    const std::lock_guard guard{lock};
    full = true;
    changed.notify_one();
  }
  bool wait(milliseconds limit) {
    std::unique_lock guard{lock};
    return changed.wait_for(guard, limit, [&] { return full.load(); });
  }
};

TEST(Race, LostWakeUp) {
  mailbox box;
  std::atomic<bool> woken{false};
  const thread_group consumers;
  worker consumer{[&] {
    const auto member = consumers.join();
    woken = box.wait_looking_too_early(milliseconds{1});
  }};
  pause_point before_waiting{&pthread_cond_clockwait, {.threads = consumers}};
  int lost = 0;
  for (unsigned i = 0; i < rounds; ++i) {
    box.full = false;
    consumer.start();
    ASSERT_TRUE(before_waiting.wait_until_reached(i + 1));
    box.put_without_lock();
    before_waiting.release();
    consumer.finish();
    lost += !woken && box.full;
  }
  EXPECT_EQ(lost, rounds);
}

TEST(Race, NoWakeUpIsLostUnderTheLock) {
  mailbox box;
  std::atomic<bool> woken{false};
  const thread_group consumers;
  worker consumer{[&] {
    const auto member = consumers.join();
    woken = box.wait(std::chrono::seconds{10});
  }};
  worker producer{[&] { box.put(); }};
  pause_point before_waiting{&pthread_cond_clockwait, {.threads = consumers}};
  int right = 0;
  for (unsigned i = 0; i < rounds; ++i) {
    box.full = false;
    consumer.start();
    ASSERT_TRUE(before_waiting.wait_until_reached(i + 1));
    producer.start();  // the consumer has the lock
    EXPECT_FALSE(box.full);
    before_waiting.release();
    consumer.finish();
    producer.finish();
    right += woken;
  }
  EXPECT_EQ(right, rounds);
}

// An update that is lost, between two instructions.
TEST(Race, LostUpdate) {
  int counter = 0;
  worker other{[&] { racy_add(&counter, 1); }};
  pause_point between{"racy_add+0x2"};
  for (unsigned i = 0; i < rounds; ++i) {
    other.start();
    ASSERT_TRUE(between.wait_until_reached(i + 1));
    counter += 100;
    between.release();
    other.finish();
  }
  EXPECT_EQ(counter, rounds);
  EXPECT_EQ(between.name(), "racy_add+0x2");
}

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
