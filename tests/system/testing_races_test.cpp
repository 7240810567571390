// Real races, each forced by pause points into its one bad interleaving, 1,000 times of 1,000.
#include <gmock/gmock.h>
#include <pthread.h>

#include <condition_variable>
#include <libprobe/testing.hpp>
#include <mutex>
#include <optional>

#include "support/probing.hpp"
#include "support/racing.hpp"

namespace libprobe {
namespace {

using std::chrono::milliseconds;
using test::opaque;
using test::worker;

constexpr int rounds = 1000;

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
  const thread_group both;
  worker first{[&] {
    const auto member = both.join();
    lazy->get();
  }};
  worker second{[&] {
    const auto member = both.join();
    seen = lazy->get()->limit;
  }};
  pause_point before_construction{&construct};
  pause_point before_lock{&pthread_mutex_lock,
                          {.threads = both}};  // each thread passes here on its way to be the first
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

}  // namespace
}  // namespace libprobe
