// Followed calls that end in other ways than by returning, where others are just beginning: in handlers of
// signals, in children that borrow memory, in unwind handlers that never come back.
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "support/child.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

[[gnu::noipa]] long subject(long x) {
  asm volatile("" : "+r"(x));
  return x + 1;
}
[[gnu::noipa]] long thrower(long x) {
  asm volatile("" : "+r"(x));
  if (x > 0) throw x;
  return x;
}
jmp_buf out;
[[gnu::noipa]] long jumper(long x) {
  asm volatile("" : "+r"(x)::"memory");
  if (x > 0) longjmp(out, 1);
  return x;
}

std::atomic<long> signals{0};
void throws_inside(int) {
  ++signals;
  try {
    opaque(thrower)(1);
  } catch (long) {
  }
}
void jumps_inside(int) {
  ++signals;
  if (setjmp(out) == 0) opaque(jumper)(1);
}

/// A signal comes between a hit and the call that it begins, and its handler's own calls never return.
void interrupted_by(void (*handler)(int), long (*inner)(long)) {
  followed outer{&subject, 4}, in_handler{inner, 4};
  struct sigaction action {};
  action.sa_handler = handler;
  ASSERT_EQ(sigaction(SIGALRM, &action, nullptr), 0);
  signals = 0;
  itimerval timer{{0, 50}, {0, 50}};
  ASSERT_EQ(setitimer(ITIMER_REAL, &timer, nullptr), 0);
  long calls = 0, wrong = 0;
  for (; signals < 8000; ++calls) wrong += opaque(subject)(calls) != calls + 1 ? 1 : 0;
  timer = {};
  setitimer(ITIMER_REAL, &timer, nullptr);
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(outer.returns() + outer.missed(), static_cast<std::uint64_t>(calls));
  EXPECT_EQ(in_handler.returns(), 0U);
  EXPECT_EQ(in_handler.unwinds() + in_handler.missed(), static_cast<std::uint64_t>(signals));
}
TEST(CallsInSignalHandlers, EndByAnException) { interrupted_by(throws_inside, thrower); }
TEST(CallsInSignalHandlers, EndByLongjmp) { interrupted_by(jumps_inside, jumper); }

TEST(Originals, AreThereAtTheFirstCallOfAReplacementOnAnArmedSite) {
  const auto keep = on_return(&subject, [](long) {});
  std::atomic<bool> stop{false};
  std::atomic<long> wrong{0}, none{0};
  std::thread caller{[&] {
    for (long n = 0; !stop; ++n) wrong += opaque(subject)(n) != n + 1 ? 1 : 0;
  }};
  for (int round = 0; round < 20'000; ++round) {
    const auto instead = replace(&subject, [&](auto original, long x) {
      if (original != nullptr) return original(x);
      ++none;
      return x + 1;
    });
  }
  stop = true;
  caller.join();
  EXPECT_EQ(none, 0);
  EXPECT_EQ(wrong, 0);
}

probe on_thrower{.at = &thrower, .pre_handler = test::just_count};
[[gnu::noipa]] long registers_inside(long x) {
  if (register_probe(on_thrower)) return 0;  // where a copy of a process finds out that it is one
  const long sum = opaque(subject)(x) + opaque(subject)(x);
  asm volatile("" ::: "memory");
  return 2 * sum;
}
TEST(CallsInCopies, OfAProcessThatHasHadAGuest) {
  followed outer{&registers_inside, 4}, inner{&subject, 4};
  opaque(subject)(1);
  ASSERT_EQ(system("true"), 0);
  const auto status = test::status_of_child([] { return 0; });
  EXPECT_EQ(status, 0);
  const long child = syscall(SYS_fork);  // libc does not know
  if (child == 0) _exit(registers_inside(1) == 8 ? 0 : 1);
  int ended = -1;
  ASSERT_EQ(waitpid(static_cast<pid_t>(child), &ended, 0), child);
  EXPECT_EQ(test::told(ended), test::told(0));
}

std::atomic<int> first_told{0}, second_told{0};
jmp_buf out_of_handler;
TEST(UnwindHandlers, ThatNeverComeBackLoseNothing) {
  for (const bool by_exception : {true, false}) {
    first_told = second_told = 0;
    retprobe first{.at = by_exception ? &thrower : &jumper,
                   .handler = [](retprobe_instance&, registers&) {},
                   .maxactive = 4,
                   .unwind_handler =
                       [](retprobe_instance&) {
                         ++first_told;
                         longjmp(out_of_handler, 1);
                       }};
    retprobe second{.at = by_exception ? &thrower : &jumper,
                    .handler = [](retprobe_instance&, registers&) {},
                    .maxactive = 4,
                    .unwind_handler = [](retprobe_instance&) { ++second_told; }};
    ASSERT_FALSE(register_retprobe(first));
    ASSERT_FALSE(register_retprobe(second));
    for (int i = 0; i < 20; ++i) {
      std::thread{[by_exception] {
        if (setjmp(out_of_handler) != 0) return;
        if (by_exception) {
          try {
            opaque(thrower)(1);
          } catch (long) {
          }
        } else if (setjmp(out) == 0) {
          opaque(jumper)(1);
        }
      }}.join();
    }
    EXPECT_EQ(first_told, 20);
    EXPECT_EQ(second_told, 20);
    EXPECT_EQ(nmissed(first) + nmissed(second), 0U);
  }
}

}  // namespace
}  // namespace libprobe
