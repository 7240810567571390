// Control leaves by siglongjmp what a hit has begun, wherever it is: every commit ends, and later hits count.
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/user.h>

#include <array>
#include <csetjmp>
#include <thread>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

extern "C" {
extern const char libprobe_direct_code[] __attribute__((visibility("hidden")));
extern const char libprobe_direct_code_end[] __attribute__((visibility("hidden")));
}

namespace libprobe {
namespace {

constexpr int calls = 100;

[[gnu::noinline]] long target(long x) { return test::opaque(x) + 1; }
[[gnu::noinline]] long other(long x) { return test::opaque(x) + 2; }
long in_its_place(long x) { return test::opaque(x) + 100; }

sigjmp_buf way_out;
void leave(int) { siglongjmp(way_out, 1); }

/// A direct call, and a probe elsewhere. Of a child, which never removes the replacement.
struct {
  replacement r{.at = target,
                .entry = reinterpret_cast<void*>(&in_its_place),
                .stack_bytes = 0,
                .result = result_registers::first_integer};
  probe p{.at = other, .pre_handler = test::just_count};

  /// From here on the child is traced. What it exits with, where that is not 0.
  int place(void (*handler)(int)) {
    if (register_replacement(r) || register_probe(p)) return 2;
    if (target(1) != 101) return 3;
    signal(SIGUSR1, handler);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    return 0;
  }
} direct;

/// In a child that is traced: is interrupted in a call of a replacement, leaves it, and goes on. What it
/// exits with: 0, or which of the promises did not hold.
int leave_a_direct_call() {
  auto& [r, p] = direct;
  if (const int why = direct.place(leave); why != 0) return why;
  if (sigsetjmp(way_out, 1) == 0) {
    raise(SIGSTOP);
    target(2);
    return 4;  // not interrupted
  }
  const auto begun = hits(r);
  for (long i = 0; i < calls; ++i) {
    if (target(i) != i + 100 || other(i) != i + 2) return 5;
  }
  if (hits(r) != begun + calls) return 6;
  if (hits(p) != calls) return 7;
  alarm(20);
  unregister_probe_fast(p);
  if (commit_probes()) return 8;
  _exit(0);  // the replacement that was left is not removed: its entry may be what was left
}

bool kept = true;
/// Its hit ends, and the section that it interrupted is as it was.
void hit_another(int) {
  const auto open = epoch::open_at();
  if (other(1) != 3) kept = false;
  if (epoch::open_at() != open) kept = false;
}

/// The same for one that is interrupted by a handler in which another probe is hit, and goes on.
int hit_in_a_direct_call() {
  auto& [r, p] = direct;
  if (const int why = direct.place(hit_another); why != 0) return why;
  raise(SIGSTOP);
  if (target(2) != 102) return 4;
  if (hits(p) != 1) return 5;
  if (!kept) return 6;
  if (hits(r) != 2) return 7;
  _exit(0);
}

/// Steps the child until it has met so many instructions of the direct call's code, and sends it the signal
/// there. False: it had met all of them.
bool interrupt_at(int instruction, int& status, int (*body)()) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  const auto wait = [&] { return waitpid(child, &status, 0) == child && WIFSTOPPED(status); };
  while (wait() && WSTOPSIG(status) != SIGSTOP)
    ptrace(PTRACE_CONT, child, 0, static_cast<long>(WSTOPSIG(status)));
  if (!WIFSTOPPED(status)) return true;  // what it exited with tells
  const auto begin = reinterpret_cast<std::uintptr_t>(libprobe_direct_code),
             end = reinterpret_cast<std::uintptr_t>(libprobe_direct_code_end);
  constexpr int far_enough = 20'000;
  int met = 0;
  for (int step = 0; step < far_enough && met < instruction; ++step) {
    ptrace(PTRACE_SINGLESTEP, child, 0, 0);
    if (!wait()) break;
    user_regs_struct regs{};
    ptrace(PTRACE_GETREGS, child, 0, &regs);
    if (regs.rip >= begin && regs.rip < end) ++met;
  }
  if (WIFSTOPPED(status)) ptrace(PTRACE_DETACH, child, 0, met == instruction ? SIGUSR1 : 0L);
  if (WIFSTOPPED(status)) waitpid(child, &status, 0);
  return met == instruction;
}

TEST(Escapes, FromADirectCallAtEveryInstruction) {
  int status = 0, instruction = 1;
  while (interrupt_at(instruction, status, leave_a_direct_call)) {
    ASSERT_EQ(test::told(status), test::exited_with(0)) << "left at its instruction " << instruction;
    ++instruction;
  }
  EXPECT_GT(instruction, 10) << "the call is not direct";
}

/// What protects what a direct call is about to use.
TEST(Escapes, AHitInADirectCallsMiddleLeavesItsSectionOpen) {
  int status = 0, instruction = 1;
  while (interrupt_at(instruction, status, hit_in_a_direct_call)) {
    ASSERT_EQ(test::told(status), test::exited_with(0)) << "interrupted at its instruction " << instruction;
    ++instruction;
  }
  EXPECT_GT(instruction, 10) << "the call is not direct";
}

// A stack overflows in a hit: its handler needs more room than the function.
long (*volatile deeper)(long) = nullptr;
[[gnu::noinline]] long deep(long n) {
  volatile char room[256];
  room[n & 255] = 1;
  return deeper(n + 1) + room[n & 255];
}

int need_room(probe&, registers&) {
  volatile char room[3800];
  room[0] = 1;
  asm volatile("" ::"r"(room) : "memory");
  return 0;
}

int overflow_and_leave() {
  static std::array<char, 64UL * 1024> alternate;
  static int answer = 1;
  std::thread{[] {
    const stack_t stack{.ss_sp = alternate.data(), .ss_flags = 0, .ss_size = alternate.size()};
    sigaltstack(&stack, nullptr);
    struct sigaction action {};
    action.sa_handler = leave;
    action.sa_flags = SA_ONSTACK;
    sigaction(SIGSEGV, &action, nullptr);
    probe far_below{.at = deep, .pre_handler = need_room};
    probe above{.at = other, .pre_handler = need_room};
    if (register_probe(far_below) || register_probe(above)) return;
    deeper = deep;
    if (sigsetjmp(way_out, 1) == 0) deeper(0);
    for (long i = 0; i < calls; ++i) other(i);
    answer = hits(above) != calls ? 2 : commit_probes() ? 3 : 0;
  }}.join();
  return answer;
}

TEST(Escapes, FromAHitInWhichTheStackOverflowed) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "it takes the overflow for its own finding";
#endif
  for (int i = 0; i < 5; ++i)
    ASSERT_EQ(test::told(test::status_of_child(overflow_and_leave)), test::exited_with(0));
}

}  // namespace
}  // namespace libprobe
