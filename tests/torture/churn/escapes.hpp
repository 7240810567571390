// Parts of the churn: threads that leave hits behind by siglongjmp, and go on.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <csetjmp>
#include <thread>
#include <vector>

#include "support/probing.hpp"
#include "torture/churn/watch.hpp"

namespace libprobe::churn {

[[gnu::noinline]] inline long left(long x) { return test::opaque(x) + 11; }
[[gnu::noinline]] inline long left_counted(long x) { return test::opaque(x) + 12; }
[[gnu::noinline]] inline long left_replaced(long x) { return test::opaque(x) + 13; }
inline long left_in_its_place(long x) { return test::opaque(x) + 130; }

/// Where a thread goes on when it is interrupted; null: it is not to be interrupted.
inline thread_local sigjmp_buf* volatile way_out = nullptr;

inline void leave_by_signal(int signo, siginfo_t* info, void* frame) {
  sigjmp_buf* const there = way_out;
  if (there == nullptr && signo == SIGSEGV) {
    const auto& regs = static_cast<const ucontext_t*>(frame)->uc_mcontext.gregs;
    tell("a fault, most likely in what was freed (the instruction, the address)",
         static_cast<std::uint64_t>(regs[REG_RIP]), reinterpret_cast<std::uintptr_t>(info->si_addr));
    give_up(4);
  }
  if (there == nullptr) return;
  way_out = nullptr;
  siglongjmp(*there, 1);
}

inline void on_signal(int signo, int flags) {
  struct sigaction action {};
  action.sa_sigaction = leave_by_signal;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(signo, &action, nullptr);
}

/// A stack for signal handlers, for the thread that makes it.
class alternate_stack {
 public:
  alternate_stack() {
    const stack_t mine{.ss_sp = room_.data(), .ss_flags = 0, .ss_size = room_.size()};
    sigaltstack(&mine, nullptr);
  }
  ~alternate_stack() {
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);
  }
  alternate_stack(const alternate_stack&) = delete;
  alternate_stack& operator=(const alternate_stack&) = delete;

 private:
  std::vector<char> room_ = std::vector<char>(64UL * 1024);  // elsewhere than the thread's own
};

/// A thread that calls what is probed, counted and replaced, and one that interrupts it wherever it is: on
/// its own stack, or from an alternate one.
class interrupted {
 public:
  interrupted() {
    on_signal(SIGUSR1, 0);
    on_signal(SIGUSR2, SA_ONSTACK);
    must(!register_probe(p_) && !register_counter(c_) && !register_replacement(*r_), "a probe is refused");
  }
  ~interrupted() {
    unregister_probe(p_);
    unregister_counter(c_);
    unregister_replacement_fast(*r_);  // an entry that was left never ends: the object stays
    const auto seen = hits(p_) + nmissed(p_);
    must(seen >= done_ && seen <= begun_, "the hits of calls that were left", seen, done_);
    must(hits(c_) >= done_ && hits(c_) <= begun_, "the counts of calls that were left", hits(c_), done_);
  }
  interrupted(const interrupted&) = delete;
  interrupted& operator=(const interrupted&) = delete;

  /// In one thread.
  void call(std::uint64_t) {
    const alternate_stack stack;
    sigjmp_buf here;
    target_ = pthread_self();
    if (sigsetjmp(here, 1) == 0) {
      way_out = &here;
      open_ = true;
      for (int i = 0; i < 100'000 && open_; ++i) {
        begun_ = begun_ + 1;
        left(1);
        left_counted(1);
        done_ = done_ + 1;
        for (int k = 0; k < 8; ++k) left_replaced(1);
      }
      way_out = nullptr;
    }
    open_ = false;
    // Back on its stack the thread's handlers run as ever, from the second hit on at the latest.
    for (int i = 0; i < 4; ++i) count_call();
    const auto before = hits(p_);
    for (int i = 0; i < 8; ++i) count_call();
    must(hits(p_) == before + 8, "hits of a thread that has left others behind", hits(p_) - before, 8);
  }

  /// In another one.
  void interrupt(std::uint64_t number) {
    if (!open_) return std::this_thread::yield();
    spin_for(std::chrono::microseconds{number % 13});
    if (open_) pthread_kill(target_, number % 2 == 0 ? SIGUSR1 : SIGUSR2);
    spin_for(std::chrono::microseconds{20});
  }

 private:
  void count_call() {
    begun_ = begun_ + 1;
    left(1);
    left_counted(1);
    done_ = done_ + 1;
  }

  probe p_{.at = left, .pre_handler = test::just_count};
  counter c_{.at = left_counted};
  replacement* r_ = new replacement{.at = left_replaced,
                                    .entry = reinterpret_cast<void*>(&left_in_its_place),
                                    .stack_bytes = 0,
                                    .result = result_registers::first_integer};
  std::atomic<pthread_t> target_{};
  std::atomic<bool> open_{false};
  volatile std::uint64_t begun_ = 0, done_ = 0;  // of the thread that calls
};

// A stack overflows, most likely in a hit: the handler needs more of it than the function.
[[gnu::noinline]] inline long deep(long n) {
  volatile char room[256];
  room[n & 255] = 1;
  extern long (*volatile go_deeper)(long);
  return go_deeper(n + 1) + room[n & 255];
}
inline long (*volatile go_deeper)(long) = deep;
[[gnu::noinline]] inline long shallow(long x) { return test::opaque(x) + 14; }

inline int need_room(probe&, registers&) {
  volatile char room[3800];
  room[0] = 1;  // its far end
  asm volatile("" ::"r"(room) : "memory");
  return 0;
}

class overflowing {
 public:
  overflowing() {
    on_signal(SIGSEGV, SA_ONSTACK);
    must(!register_probe(deep_) && !register_probe(shallow_), "a probe is refused");
  }
  ~overflowing() {
    unregister_probe(deep_);
    unregister_probe(shallow_);
    signal(SIGSEGV, SIG_DFL);
  }
  overflowing(const overflowing&) = delete;
  overflowing& operator=(const overflowing&) = delete;

  void round(std::uint64_t) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256UL * 1024);
    pthread_t thread;
    const auto body = [](void* self) -> void* {
      static_cast<overflowing*>(self)->overflow();
      return nullptr;
    };
    must(pthread_create(&thread, &attributes, body, this) == 0, "a thread cannot be made");
    pthread_attr_destroy(&attributes);
    pthread_join(thread, nullptr);
  }

 private:
  void overflow() {
    const alternate_stack stack;
    sigjmp_buf here;
    if (sigsetjmp(here, 1) == 0) {
      way_out = &here;
      go_deeper(0);
    }
    for (long i = 0; i < 4; ++i) shallow(i);
    const auto before = hits(shallow_);
    for (long i = 0; i < 50; ++i) shallow(i);
    must(hits(shallow_) == before + 50, "hits of a thread whose stack has overflowed",
         hits(shallow_) - before, 50);
  }

  probe deep_{.at = deep, .pre_handler = need_room};
  probe shallow_{.at = shallow, .pre_handler = need_room};
};

}  // namespace libprobe::churn
