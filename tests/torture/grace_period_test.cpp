// Grace periods in the manner of rcutorture: readers look for objects that were given up too early. The same
// torture with a writer that does not wait must find such objects, or it proves nothing.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "epoch/epoch.hpp"
#include "support/child.hpp"
#include "support/refusing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

/// Not freed but marked, so that finding one is a count and no crash. `age` as in rcutorture: 0 in use, 1
/// given up (its grace period is over).
struct object {
  std::atomic<std::uint64_t> age{0};
};

struct counters {
  std::atomic<std::uint64_t> reads{0}, violations{0}, grace_periods{0};
};

template <class WaitForReaders>
class torture {
 public:
  explicit torture(WaitForReaders wait) : wait_{wait} {
    epoch::prepare();
    for (auto& one : current_) one = new object;
  }
  ~torture() {
    for (auto& one : current_) delete one.load();
    for (auto& bin : bins_) {
      for (auto* one : bin) delete one;
    }
  }

  /// One look at an object, some of them long, now and then nested, as readers are.
  void read(std::uint64_t seed) {
    const epoch::section section;
    const auto* found = current_[seed % writers].load(std::memory_order_acquire);
    const auto dwell = seed % 50 == 0 ? 3000 : seed % 60;
    for (std::uint64_t i = 0; i < dwell; ++i) {
      if (i % 16 == 7) const epoch::section nested;
      if (found->age.load(std::memory_order_relaxed) != 0) {
        count.violations.fetch_add(1, std::memory_order_relaxed);
        break;
      }
    }
    if (seed % 200 == 0) std::this_thread::yield();
    if (found->age.load(std::memory_order_relaxed) != 0)
      count.violations.fetch_add(1, std::memory_order_relaxed);
    count.reads.fetch_add(1, std::memory_order_relaxed);
  }

  template <class While>
  void write(std::size_t which, const While& going_on) {
    while (going_on()) {
      object* fresh = take(which);
      object* old = current_[which].exchange(fresh, std::memory_order_acq_rel);
      wait_();
      count.grace_periods.fetch_add(1, std::memory_order_relaxed);
      old->age.store(1, std::memory_order_relaxed);
      bins_[which].push_back(old);
    }
  }

  template <class While>
  void run(const While& going_on) {
    std::vector<std::thread> threads;
    std::atomic<bool> stop{false};
    for (std::size_t i = 0; i < writers; ++i) {
      threads.emplace_back([&, i] { write(i, [&] { return !stop.load(std::memory_order_relaxed); }); });
    }
    for (std::uint64_t i = 0; i < 3; ++i) {
      threads.emplace_back([&, i] {
        for (auto seed = i * 1000; !stop.load(std::memory_order_relaxed); ++seed) read(seed);
      });
    }
    // Readers that live for one section each: records are claimed and left all the time.
    threads.emplace_back([&] {
      for (std::uint64_t seed = 0; !stop.load(std::memory_order_relaxed); ++seed) {
        if (may_start_threads_) {
          std::thread{[&] { read(seed); }}.join();
        } else {
          read(seed);
        }
      }
    });
    while (going_on()) {
      for (auto& thread : threads) during_(thread.native_handle());
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    stop = true;
    for (auto& thread : threads) thread.join();
  }

  counters count;
  void (*during_)(pthread_t) = [](pthread_t) {};
  bool may_start_threads_ = true;

 private:
  static constexpr std::size_t writers = 2;

  /// Objects are used again, so that a stale reader may also see one come back to life; the oldest first.
  object* take(std::size_t which) {
    auto& bin = bins_[which];
    if (bin.size() < 64) return new object;
    object* oldest = bin.front();
    bin.erase(bin.begin());
    oldest->age.store(0, std::memory_order_relaxed);
    return oldest;
  }

  WaitForReaders wait_;
  std::array<std::atomic<object*>, writers> current_{};
  std::array<std::vector<object*>, writers> bins_;
};

TEST(GracePeriod, NoReaderSeesAnObjectThatWasGivenUp) {
  torture t{[] { epoch::synchronize(); }};
  const test::until_time_is_over time;
  t.run([&] { return static_cast<bool>(time); });
  EXPECT_EQ(t.count.violations, 0U);
  EXPECT_GT(t.count.reads, 1000U);
  EXPECT_GT(t.count.grace_periods, 100U);
}

using careful = torture<void (*)()>;
careful* read_in_handler = nullptr;

TEST(GracePeriod, NorDoesOneInASignalHandler) {
  struct sigaction action {};
  action.sa_handler = [](int) {
    static std::atomic<std::uint64_t> seed{0};
    read_in_handler->read(seed.fetch_add(1, std::memory_order_relaxed) * 7 + 1);
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  careful t{[] { epoch::synchronize(); }};
  read_in_handler = &t;
  // The readers' own sections and those of writers outside of synchronize() are interrupted alike; a handler
  // in synchronize() itself may open sections, too: only waiting inside of one is forbidden.
  t.during_ = [](pthread_t thread) { pthread_kill(thread, SIGUSR1); };
  const test::until_time_is_over time;
  t.run([&] { return static_cast<bool>(time); });
  EXPECT_EQ(t.count.violations, 0U);
  EXPECT_GT(t.count.grace_periods, 100U);
}

/// In children: a filter is for good.
test::flaw nobody_sees_what_was_given_up(careful& t) {
  const test::until_time_is_over time;
  t.run([&] { return static_cast<bool>(time); });
  HOLDS(t.count.violations == 0);
  HOLDS(t.count.reads > 1000);
  HOLDS(t.count.grace_periods > 20);
  return nullptr;
}

TEST(GracePeriod, NorWithoutMembarrier) {
  test::in_child([] {
    test::demand(test::refuse_system_calls({SYS_membarrier}, ENOSYS), "seccomp");
    careful t{[] { epoch::synchronize(); }};
    return nobody_sees_what_was_given_up(t);
  });
}

TEST(GracePeriod, NorWhenASandboxTakesMembarrierAway) {
  test::in_child([] {
    careful t{[] { epoch::synchronize(); }};
    test::demand(test::refuse_system_calls({SYS_membarrier}, EPERM), "seccomp");
    return nobody_sees_what_was_given_up(t);
  });
}

TEST(GracePeriod, NorWhenItTakesMoreAwayUnderWay) {
  test::in_child([] {
    careful t{[] { epoch::synchronize(); }};
    t.may_start_threads_ = false;  // which needs mprotect()
    t.during_ = [](pthread_t) {
      static const bool done = test::refuse_system_calls({SYS_membarrier, SYS_madvise, SYS_mprotect}, EPERM);
      test::demand(done, "seccomp");
    };
    return nobody_sees_what_was_given_up(t);
  });
}

TEST(GracePeriod, WithoutItTheTortureFindsViolations) {
  torture t{[] {}};
  t.run([&] { return t.count.violations == 0; });  // the test's time limit, if there never is one
  EXPECT_GT(t.count.violations, 0U);
}

}  // namespace
}  // namespace libprobe
