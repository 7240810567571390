// Replacements that run in children which borrow memory, and never come back: system(), vfork() and exec.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "support/child.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::opaque;

char true_program[] = "/bin/true";
char* true_arguments[] = {true_program, nullptr};
char* no_environment[] = {nullptr};

auto forwards(std::atomic<int>& begun) {
  return replace(&execve, [&begun](auto original, const char* path, char* const* with, char* const* where) {
    ++begun;
    return original(path, with, where);
  });
}

/// What lay below on the stack is something else now.
[[gnu::noipa]] void overwrite_stack() {
  volatile char rubbish[16384];
  for (auto& one : rubbish) one = 0x41;
}

[[gnu::noipa]] void execute_in_a_guest() {
  const pid_t child = vfork();
  if (child == 0) {
    execve(true_program, true_arguments, no_environment);
    _exit(1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(test::told(status), test::told(0));
  overwrite_stack();
}

void jump_far() {
  jmp_buf here;
  if (setjmp(here) == 0) longjmp(here, 1);
}

TEST(GuestRuns, AreNotTheThreadsWhenItJumpsForksAndRemoves) {
  for (const bool spawned : {false, true}) {
    std::atomic<int> begun{0};
    {
      const auto keep = forwards(begun);
      for (int round = 1; round <= 3; ++round) {
        if (spawned) {
          ASSERT_EQ(system("true"), 0);
        } else {
          execute_in_a_guest();
        }
        EXPECT_EQ(begun, round);
        EXPECT_EQ(current_replacement(), nullptr) << "a dead guest's";
        jump_far();
        EXPECT_EQ(test::told(test::status_of_child([] { return 7; })), test::told(7 << 8));
        const long child = syscall(SYS_fork);  // libc does not know
        if (child == 0) _exit(commit_probes() ? 1 : 0);
        int status = -1;
        ASSERT_EQ(waitpid(static_cast<pid_t>(child), &status, 0), child);
        EXPECT_EQ(test::told(status), test::told(0));
      }
      execute_in_a_guest();
    }  // waits for none of them
    ASSERT_EQ(system("true"), 0);
    EXPECT_EQ(begun, 4);
  }
}

[[gnu::noipa]] long outer_function(long x) {
  asm volatile("" : "+r"(x));
  return x;
}

TEST(GuestRuns, InsideOfTheThreadsOwn) {
  std::atomic<int> begun{0};
  const auto keep = forwards(begun);
  const auto with_guests = replace(&outer_function, [](auto original, long x) {
    for (long n = 0; n < x; ++n) execute_in_a_guest();
    const auto* const mine = current_replacement();
    EXPECT_NE(mine, nullptr);
    if (x == 3) throw x;
    if (x == 2) return opaque(outer_function)(1) + original(x);
    return original(x);
  });
  for (int round = 0; round < 5; ++round) {
    EXPECT_EQ(opaque(outer_function)(1), 1);
    EXPECT_EQ(opaque(outer_function)(2), 3);
    EXPECT_THROW(opaque(outer_function)(3), long);
    EXPECT_EQ(opaque(outer_function)(0), 0);
    EXPECT_EQ(current_replacement(), nullptr);
  }
  EXPECT_EQ(begun, 5 * 7);
}

/// The thread that had a guest does nothing for a long time, and another removes.
TEST(GuestRuns, AreKnownToBeOverToOtherThreads) {
  std::atomic<int> begun{0};
  std::atomic<bool> had_guest{false}, removed{false};
  std::thread lender;
  {
    const auto keep = forwards(begun);
    lender = std::thread{[&] {
      execute_in_a_guest();
      had_guest = true;
      while (!removed) usleep(1000);
    }};
    while (!had_guest) usleep(1000);
  }
  removed = true;
  lender.join();
  EXPECT_EQ(begun, 1);
}

/// While a guest is in the replacement it is not removed.
TEST(GuestRuns, ThatAreNotOverAreWaitedFor) {
  static std::atomic<int> state;
  state = 0;
  std::thread lender;
  {
    const auto keep =
        replace(&execve, [](auto original, const char* path, char* const* with, char* const* where) {
          state = 1;
          while (state != 2) usleep(1000);
          usleep(200'000);
          state = 3;
          return original(path, with, where);
        });
    lender = std::thread{execute_in_a_guest};
    while (state != 1) usleep(1000);
    state = 2;
  }
  EXPECT_EQ(state, 3);
  lender.join();
}

/// A guest forks: what the copy is inside of is its own, and comes back.
TEST(GuestRuns, OfOneThatForks) {
  for (const bool libc_knows : {true, false}) {
    static test::word* said;
    test::word here;
    said = &here;
    static bool by_libc;
    by_libc = libc_knows;
    const auto keep =
        replace(&execve, [](auto original, const char* path, char* const* with, char* const* where) {
          const long copy = by_libc ? fork() : syscall(SYS_fork);
          if (copy == 0) {
            if (current_replacement() == nullptr) said->say("not inside");
            return -77;
          }
          int status = 0;
          waitpid(static_cast<pid_t>(copy), &status, 0);
          if (status != 0) said->say("the copy ended by " + std::to_string(status));
          return original(path, with, where);
        });
    const pid_t child = vfork();
    if (child == 0) {
      if (execve(true_program, true_arguments, no_environment) != -77) _exit(1);
      // A copy of a guest: what it registers and removes is its own.
      if (current_replacement() != nullptr) said->say("still inside");
      _exit(0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(test::told(status), test::told(0));
    EXPECT_STREQ(here.text(), "");
  }
}

}  // namespace
}  // namespace libprobe
