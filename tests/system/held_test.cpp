// Threads that are held for a moment by a signal, as they are while a jump over several instructions is
// written under a debugger: see tests/system/gdb/inside.cpp for that.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "arch/machine.hpp"
#include "os/hold.hpp"
#include "os/masks.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"
#include "site/thread.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

[[gnu::noinline]] int probed(int x) {
  asm volatile("" ::: "memory");
  return x + 1;
}

constexpr std::uint64_t held_signal = os::signal_bit(os::hold_signal);
constexpr std::uint64_t trap = os::signal_bit(SIGTRAP);
bool nowhere(std::uintptr_t) { return false; }
void hold_for_a_moment() { const os::hold others{nowhere}; }

void change_raw_mask(int how, std::uint64_t mask) {
  os::raw::call(SYS_rt_sigprocmask, how, &mask, nullptr, sizeof mask);  // libc's are guarded
}

/// A thread that runs.
class runner {
 public:
  explicit runner(std::uint64_t blocked = 0) {
    thread_ = std::thread{[this, blocked] {
      change_raw_mask(SIG_BLOCK, blocked);
      id_ = os::thread_id();
      while (!stop_) turns_.fetch_add(1, std::memory_order_relaxed);
      change_raw_mask(SIG_UNBLOCK, blocked);  // on its way out it may meet breakpoints
    }};
    while (id_ == 0 || turns_ == 0) std::this_thread::yield();
  }
  ~runner() {
    stop_ = true;
    thread_.join();
  }
  runner(const runner&) = delete;
  runner& operator=(const runner&) = delete;

  int id() const { return id_; }
  std::uint64_t turns() const { return turns_; }
  /// Waits for it.
  void expect_to_run() const {
    for (const auto before = turns(); turns() == before;) std::this_thread::yield();
  }
  std::uint64_t pending() const { return signals("SigPnd:"); }
  std::uint64_t blocked() const { return signals("SigBlk:"); }

 private:
  std::uint64_t signals(std::string_view key) const {
    std::ifstream file{"/proc/self/task/" + std::to_string(id()) + "/status"};
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with(key)) return std::stoull(line.substr(key.size()), nullptr, 16);
    }
    return ~std::uint64_t{0};
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> id_{0};
  std::atomic<std::uint64_t> turns_{0};
  std::thread thread_;
};

class Held : public testing::Test {
 protected:
  /// From the first registration on our handler is there.
  void SetUp() override { ASSERT_FALSE(register_probe(p_)); }
  void TearDown() override {
    const auto before = hits(p_);
    EXPECT_EQ(probed(1), 2);
    EXPECT_EQ(hits(p_), before + 1);
  }

 private:
  probe p_{.at = &probed, .pre_handler = test::just_count};
};

TEST_F(Held, RunningThreadsStandStill) {
  const runner one, two, three;
  for (int round = 0; round < 40; ++round) {
    {
      const os::hold others{nowhere};
      const auto before = one.turns() + two.turns() + three.turns();
      for (int i = 0; i < 100; ++i) syscall(SYS_sched_yield);
      ASSERT_EQ(one.turns() + two.turns() + three.turns(), before) << round;
    }
    if (round % 10 == 0) {
      one.expect_to_run();
      two.expect_to_run();
      three.expect_to_run();
    }
  }
}

TEST_F(Held, OneThatHasTheSignalBlockedGoesOn) {
  const runner deaf{held_signal}, other;
  for (int round = 0; round < 50; ++round) {
    const os::hold others{nowhere};
    const auto before = other.turns();
    deaf.expect_to_run();
    ASSERT_EQ(other.turns(), before);
    ASSERT_EQ(deaf.pending() & held_signal, 0U);  // nothing waits for it either
  }
  other.expect_to_run();
}

/// Where SIGTRAP is blocked, and who has it so, decides whether breakpoints may be placed.
TEST_F(Held, SigtrapStaysBlockedWhereItWas) {
  const runner deaf{trap}, other;
  for (int round = 0; round < 200; ++round) {
    hold_for_a_moment();
    ASSERT_NE(deaf.blocked() & trap, 0U) << "on its way out, round " << round;
    ASSERT_EQ(other.blocked() & trap, 0U);
    while ((deaf.blocked() & held_signal) != 0) std::this_thread::yield();
    ASSERT_NE(deaf.blocked() & trap, 0U) << "behind it, round " << round;
  }
}

/// By another thread, as registrations do it: not only for as long as the thread is held.
TEST_F(Held, SigtrapIsUnblockedMeanwhile) {
  auto& noted = site::self.trap_blocked;
  const auto offset =
      static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(&noted) - arch::thread_base());
  for (int round = 0; round < 20; ++round) {
    const runner deaf{trap};
    {
      const os::hold others{nowhere};  // who holds no lock
      ASSERT_EQ(os::unblock_in_other_threads(SIGTRAP, offset), 0);
      ASSERT_EQ(deaf.blocked() & trap, 0U);
    }
    deaf.expect_to_run();
    ASSERT_EQ(deaf.blocked() & (trap | held_signal), 0U);
  }
}

TEST_F(Held, ThreadsBeginAndEnd) {
  std::atomic<bool> stop{false};
  std::atomic<int> made{0};
  std::thread maker{[&] {
    while (!stop) {
      std::thread{[] { probed(1); }}.join();
      ++made;
    }
  }};
  while (made < 300) hold_for_a_moment();
  stop = true;
  maker.join();
}

TEST_F(Held, ForksGoOnInBoth) {
  std::atomic<bool> stop{false};
  std::atomic<int> children{0};
  std::thread forker{[&] {
    while (!stop) {
      EXPECT_EQ(test::told(test::status_of_child([] {
                  const runner in_child;
                  const os::hold others{nowhere};
                  const auto before = in_child.turns();
                  syscall(SYS_sched_yield);
                  return in_child.turns() == before ? 0 : 1;
                })),
                test::exited_with(0));
      ++children;
    }
  }};
  while (children < 30) hold_for_a_moment();
  stop = true;
  forker.join();
}

TEST_F(Held, SystemCallsThatWaitAreLeftAlone) {
  std::atomic<bool> stop{false};
  std::atomic<int> interrupted{0}, waits{0};
  std::thread waiter{[&] {
    while (!stop) {
      if (poll(nullptr, 0, 50) != 0) ++interrupted;
      ++waits;
    }
  }};
  // When it is in the call for good.
  while (waits < 5) {
    std::this_thread::sleep_for(std::chrono::milliseconds{55});
    const int now = waits;
    while (waits == now) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds{20});
    hold_for_a_moment();
  }
  stop = true;
  waiter.join();
  EXPECT_EQ(interrupted, 0);
}

TEST_F(Held, LibcVisitsItsThreadsAsEver) {
  const runner one, two;
  std::atomic<bool> stop{false};
  std::atomic<int> visits{0}, refused{0};
  // By that signal it has each thread make this system call.
  std::thread visitor{[&] {
    while (!stop) {
      if (setresuid(static_cast<uid_t>(-1), static_cast<uid_t>(-1), static_cast<uid_t>(-1)) != 0) ++refused;
      ++visits;
    }
  }};
  while (visits < 100) hold_for_a_moment();
  stop = true;
  visitor.join();
  EXPECT_EQ(refused, 0);
}

std::atomic<int> seen{0}, strange{0};
void on_own(int, siginfo_t* info, void*) {
  if (info->si_code == SI_QUEUE && info->si_value.sival_int == 77) {
    ++seen;
  } else {
    ++strange;
  }
}

TEST_F(Held, AProgramsOwnHandlerSeesItsOwnSignalsOnly) {
  const auto body = [] {
    const runner one;  // the process's first thread: for that libc sets a handler of its own
    // libc's functions refuse the number; how to come back from a handler only they know.
    struct sigaction by_libc {};
    by_libc.sa_sigaction = on_own;
    by_libc.sa_flags = SA_SIGINFO | SA_RESTART;
    os::signal_action mine, now;
    if (sigaction(SIGUSR2, &by_libc, nullptr) != 0) return 2;
    syscall(SYS_rt_sigaction, SIGUSR2, nullptr, &mine, sizeof mine.mask);
    mine.handler = on_own;
    if (syscall(SYS_rt_sigaction, os::hold_signal, &mine, nullptr, sizeof mine.mask) != 0) return 3;
    syscall(SYS_rt_sigaction, os::hold_signal, nullptr, &now, sizeof now.mask);
    if (now.handler != on_own) return 4;

    std::atomic<bool> stop{false};
    std::atomic<int> sent{0};
    std::thread sender{[&] {
      siginfo_t info{};
      info.si_code = SI_QUEUE;
      info.si_value.sival_int = 77;
      while (!stop) {
        if (syscall(SYS_rt_tgsigqueueinfo, getpid(), one.id(), os::hold_signal, &info) == 0) ++sent;
        while (seen < sent) std::this_thread::yield();
      }
    }};
    for (int i = 0; i < 100 || sent <= 10; ++i) {
      const os::hold others{nowhere};
      const auto before = one.turns();
      syscall(SYS_sched_yield);
      if (one.turns() != before) return 5;
    }
    stop = true;
    sender.join();
    return seen == sent && strange == 0 ? 0 : 6;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(0));
}

/// Nobody wants it: it ends the process, as ever.
TEST_F(Held, WithoutAHandlerTheSignalKills) {
  const auto body = [] {
    os::signal_action none;
    syscall(SYS_rt_sigaction, os::hold_signal, &none, nullptr, sizeof none.mask);
    hold_for_a_moment();
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), os::hold_signal);
    return 1;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(os::hold_signal));
}

}  // namespace
}  // namespace libprobe
