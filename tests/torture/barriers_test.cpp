// Store buffering (Dekker's litmus): one side has compiler barriers only, the other pays for both. That both
// miss each other's store is what heavy_barrier() must make impossible, however it is made; with a barrier of
// one side's own it does happen, or the test proves nothing.
#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <thread>

#include "arch/machine.hpp"
#include "os/barrier.hpp"
#include "support/child.hpp"
#include "support/refusing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

struct alignas(128) line {
  std::atomic<int> value{0};
};

class litmus {
 public:
  litmus() : reader_{[this] { read(); }} {}
  ~litmus() {
    round_.value = -1;
    reader_.join();
  }
  litmus(const litmus&) = delete;
  litmus& operator=(const litmus&) = delete;

  /// One round. True: both missed the other's store.
  template <class Barrier>
  bool missed(const Barrier& barrier) {
    const int round = ++rounds_;
    reads_.value.store(0, std::memory_order_relaxed);
    for (auto& one : ballast_) one.value.store(round, std::memory_order_relaxed);
    writes_.value.store(0, std::memory_order_seq_cst);
    round_.value.store(round, std::memory_order_release);
    for (int i = round % 256; i > 0; --i) std::atomic_signal_fence(std::memory_order_seq_cst);
    writes_.value.store(1, std::memory_order_relaxed);
    barrier();
    const int read = reads_.value.load(std::memory_order_relaxed);
    while (done_.value.load(std::memory_order_acquire) != round) arch::cpu_relax();
    return read == 0 && seen_ == 0;
  }

 private:
  void read() {
    for (int round = 1;; ++round) {
      int now = 0;
      for (int spins = 0; (now = round_.value.load(std::memory_order_acquire)) != round; ++spins) {
        if (now < 0) return;
        static_cast<void>(writes_.value.load(std::memory_order_relaxed));  // its line is here
        if (spins % 1000 == 999) std::this_thread::yield();
      }
      // Stores leave in order, and these lines are with the other side: the last one waits long to be seen.
      for (auto& one : ballast_) one.value.store(-round, std::memory_order_relaxed);
      reads_.value.store(1, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      seen_ = writes_.value.load(std::memory_order_relaxed);
      done_.value.store(round, std::memory_order_release);
    }
  }

  line reads_, writes_, round_, done_;
  std::array<line, 16> ballast_;
  int seen_ = 0;
  int rounds_ = 0;
  std::thread reader_;
};

std::string misses(long count) { return std::to_string(count) + " rounds in which both missed"; }

/// Runs until the time is over. The reader is there before anything is refused.
void with_refused(std::initializer_list<long> calls) {
  std::string found;
  test::in_child([&]() -> test::flaw {
    os::prepare_barriers();
    test::demand(os::barriers_are_asymmetric(), "membarrier");
    litmus both;
    test::demand(test::refuse_system_calls(calls, EPERM), "seccomp");
    long wrong = 0, rounds = 0;
    for (const test::until_time_is_over time; time; ++rounds) wrong += both.missed(os::heavy_barrier);
    found = misses(wrong) + " of " + std::to_string(rounds);
    if (wrong != 0) return found.c_str();
    HOLDS(rounds > 20);
    return nullptr;
  });
}

TEST(Barriers, Membarrier) { with_refused({}); }
TEST(Barriers, APageTakenAwayByMadvise) { with_refused({SYS_membarrier}); }
TEST(Barriers, APageTakenAwayByMprotect) { with_refused({SYS_membarrier, SYS_madvise}); }
TEST(Barriers, AVisitOfAllCpus) { with_refused({SYS_membarrier, SYS_madvise, SYS_mprotect}); }
TEST(Barriers, Ticks) { with_refused({SYS_membarrier, SYS_madvise, SYS_mprotect, SYS_sched_setaffinity}); }

TEST(Barriers, ABarrierOfOneSideOnlyIsNotEnough) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "not tested here: there is one CPU";
  litmus both;
  long wrong = 0;
  while (wrong == 0)  // the test's time limit, if it never happens
    wrong += both.missed([] { std::atomic_thread_fence(std::memory_order_seq_cst); });
}

}  // namespace
}  // namespace libprobe
