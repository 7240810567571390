// Part of the hit path: raw system calls only.
#include "os/signals.hpp"

#include <asm/unistd.h>
#include <errno.h>

#include "arch/machine.hpp"
#include "os/process.hpp"

namespace libprobe::os {

namespace {

long address(const void* pointer) noexcept { return reinterpret_cast<long>(pointer); }

}  // namespace

bool change_action(int signo, const signal_action* next, signal_action* previous) noexcept {
  return arch::system_call(__NR_rt_sigaction, signo, address(next), address(previous),
                           sizeof(std::uint64_t)) == 0;
}

void change_mask(int how, std::uint64_t mask, std::uint64_t* before) noexcept {
  arch::system_call(__NR_rt_sigprocmask, how, address(&mask), address(before), sizeof mask);
}

int parent_process() noexcept { return static_cast<int>(arch::system_call(__NR_getppid)); }
int process_id() noexcept { return static_cast<int>(arch::system_call(__NR_getpid)); }
int thread_id() noexcept { return static_cast<int>(arch::system_call(__NR_gettid)); }

void raise_here(int signo) noexcept { arch::system_call(__NR_tgkill, process_id(), thread_id(), signo); }

void send_here(int signo, const siginfo_t& info) noexcept {
  arch::system_call(__NR_rt_tgsigqueueinfo, process_id(), thread_id(), signo, address(&info));
}

bool thread_exists(int thread) noexcept {
  return arch::system_call(__NR_tgkill, home_process(), thread, 0) != -ESRCH;
}

}  // namespace libprobe::os
