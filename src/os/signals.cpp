// Part of the hit path: raw system calls only.
#include "os/signals.hpp"

#include <asm/unistd.h>
#include <errno.h>

#include "machine.hpp"
#include "os/process.hpp"

namespace libprobe::os {

namespace {

long address(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }

}  // namespace

bool change_action(int signo, const signal_action* next, signal_action* previous) noexcept {
  return arch::system_call(__NR_rt_sigaction, signo, address(next), address(previous),
                           sizeof(std::uint64_t)) == 0;
}

void run_action(const signal_action& action, int signo, siginfo_t* info, void* context) noexcept {
  std::uint64_t mask = action.mask;
  if ((action.flags & SA_NODEFER) == 0) mask |= signal_bit(signo);
  std::uint64_t before = 0;
  arch::system_call(__NR_rt_sigprocmask, SIG_BLOCK, address(&mask), address(&before), sizeof mask);
  if ((action.flags & SA_SIGINFO) != 0) {
    action.handler(signo, info, context);
  } else {
    reinterpret_cast<void (*)(int)>(action.number())(signo);
  }
  arch::system_call(__NR_rt_sigprocmask, SIG_SETMASK, address(&before), 0, sizeof before);
}

int process_id() noexcept { return static_cast<int>(arch::system_call(__NR_getpid)); }
int thread_id() noexcept { return static_cast<int>(arch::system_call(__NR_gettid)); }

void raise_here(int signo) noexcept { arch::system_call(__NR_tgkill, process_id(), thread_id(), signo); }

bool thread_exists(int thread) noexcept {
  return arch::system_call(__NR_tgkill, home_process(), thread, 0) != -ESRCH;
}

}  // namespace libprobe::os
