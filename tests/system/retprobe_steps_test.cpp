// Unwinding is exact at every instruction of the return path, from the inside of a followed function back to
// its true caller: another process steps through it and unwinds by libunwind at each step.
#include <libunwind-ptrace.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "support/probing.hpp"
#include "system/retprobe_steps_tracee.hpp"

namespace {

/// A frame: its function's start, and the registers that its callees must keep.
struct frame {
  unw_word_t function;
  std::array<unw_word_t, 8> registers;
};
constexpr std::array<int, 8> kept{UNW_REG_IP,     UNW_REG_SP,     UNW_X86_64_RBX, UNW_X86_64_RBP,
                                  UNW_X86_64_R12, UNW_X86_64_R13, UNW_X86_64_R14, UNW_X86_64_R15};

class Steps : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    child_ = fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      // As many arguments as probes.
      execl(RETPROBE_STEPS_TRACEE, RETPROBE_STEPS_TRACEE, GetParam() > 0 ? "1" : nullptr,
            GetParam() > 1 ? "2" : nullptr, nullptr);
      _exit(127);
    }
    close(ends[1]);
    spaces_ = unw_create_addr_space(&_UPT_accessors, 0);
    unw_set_caching_policy(spaces_, UNW_CACHE_GLOBAL);
    unwound_ = _UPT_create(child_);
    ASSERT_EQ(stop(), SIGTRAP) << "at the beginning";
    ptrace(PTRACE_SETOPTIONS, child_, nullptr, PTRACE_O_EXITKILL);
    int pass = 0;
    for (int got = 0; got != SIGSTOP; pass = got) {  // the breakpoints are the program's own
      ASSERT_EQ(ptrace(PTRACE_CONT, child_, nullptr, pass), 0);
      got = stop();
      ASSERT_TRUE(got == SIGTRAP || got == SIGSTOP) << got;
    }
    ASSERT_EQ(read(ends[0], &places_, sizeof places_), static_cast<ssize_t>(sizeof places_));
    close(ends[0]);
  }
  void TearDown() override {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    if (unwound_ == nullptr) return;
    _UPT_destroy(unwound_);
    unw_destroy_addr_space(spaces_);
  }

  /// The signal that the child stops by; 0 if it has ended.
  int stop() {
    int status = 0;
    EXPECT_EQ(waitpid(child_, &status, __WALL), child_);
    if (WIFSTOPPED(status)) return WSTOPSIG(status);
    child_ = -1;
    return 0;
  }
  /// One instruction on, or into a signal handler; false at the next SIGSTOP.
  bool step() {
    EXPECT_EQ(ptrace(PTRACE_SINGLESTEP, child_, nullptr, pass_), 0);
    const int got = stop();
    siginfo_t info{};
    ptrace(PTRACE_GETSIGINFO, child_, nullptr, &info);
    pass_ = got == SIGTRAP && info.si_code == SI_KERNEL ? SIGTRAP : 0;  // a breakpoint of the program's
    EXPECT_TRUE(got == SIGTRAP || got == SIGSTOP) << got;
    return got == SIGTRAP;
  }
  /// All frames from the innermost to the program's.
  std::vector<frame> unwind() {
    unw_cursor_t cursor;
    EXPECT_EQ(unw_init_remote(&cursor, spaces_, unwound_), 0);
    std::vector<frame> frames;
    do {
      frame one{};
      unw_proc_info_t function{};
      if (unw_get_proc_info(&cursor, &function) == 0) one.function = function.start_ip;
      for (std::size_t i = 0; i < kept.size(); ++i) unw_get_reg(&cursor, kept[i], &one.registers[i]);
      frames.push_back(one);
    } while (frames.back().function != places_.main && frames.size() < 50 && unw_step(&cursor) > 0);
    return frames;
  }
  static std::string told(const std::vector<frame>& frames) {
    std::string all;
    for (const auto& one : frames) {
      char text[80];
      snprintf(text, sizeof text, "%#lx in %#lx, sp %#lx\n", one.registers[0], one.function,
               one.registers[1]);
      all += text;
    }
    return all;
  }

  stepped::places places_{};
  int pass_ = 0;  // the signal that the next step delivers

 private:
  pid_t child_ = -1;
  unw_addr_space_t spaces_ = nullptr;
  void* unwound_ = nullptr;
};
INSTANTIATE_TEST_SUITE_P(FollowedCalls, Steps, testing::Values(0, 1, 2));

TEST_P(Steps, OfTheReturnShowTheTrueCallers) {
  const auto expected = unwind();
  ASSERT_EQ(expected.back().function, places_.main) << told(expected);
  ASSERT_EQ(expected.end()[-2].function, places_.caller) << told(expected);
  std::map<unw_word_t, int> seen;
  int steps = 0, wrong = 0;
  bool inside = false;
  while (step()) {
    const auto frames = unwind();
    const bool at_entry = frames[0].registers[0] == places_.inner || pass_ == SIGTRAP;
    inside = inside || (frames[0].function == places_.inner && !at_entry);
    if (!inside) continue;
    ++steps;
    for (const auto& one : frames) ++seen[one.function];
    // All that main() left in registers is there, the caller's stack pointer too, and nothing comes in
    // between.
    const bool right =
        frames.size() >= 2 && frames.back().function == places_.main &&
        frames.back().registers == expected.back().registers && frames.end()[-2].function == places_.caller &&
        (frames.size() == 2 || frames.end()[-2].registers[1] == expected.end()[-2].registers[1]);
    if (!right && ++wrong <= 20) ADD_FAILURE() << "step " << steps << ":\n" << told(frames);
  }
  EXPECT_EQ(wrong, 0) << "of " << steps;
  EXPECT_TRUE(inside);
  EXPECT_GT(seen[places_.outer], 0);
  EXPECT_EQ(seen[places_.return_handler] > 0, GetParam() > 0);
}

}  // namespace
