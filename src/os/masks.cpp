#include "os/masks.hpp"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "os/hold.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

namespace {

struct blocking_threads {
  std::vector<int> all;
  bool in_passing = false;  // some have also blocked what libc lets nobody block: for a moment
};

blocking_threads threads_that_block(int signo) {
  blocking_threads threads;
  // As far as they can be seen.
  std::error_code unreadable;
  std::filesystem::directory_iterator task{"/proc/self/task", unreadable};
  for (; !unreadable && task != std::filesystem::directory_iterator{}; task.increment(unreadable)) {
    const auto id = std::stoi(task->path().filename());
    if (id == thread_id()) continue;
    std::ifstream status{task->path() / "status"};
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:")) continue;
      const auto blocked = std::stoull(line.substr(7), nullptr, 16);
      if ((blocked & signal_bit(signo)) != 0) {
        threads.all.push_back(id);
        threads.in_passing = threads.in_passing || (blocked & signal_bit(hold_signal)) != 0;
      }
      break;
    }
  }
  return threads;
}

struct work {
  const std::vector<int>& threads;
  int signo;
  std::ptrdiff_t noted;
};

// The child runs on a stack of its own, but with its parent's thread-local variables: system calls only.

long trace(long request, int thread, const void* address = nullptr, const void* data = nullptr) noexcept {
  return raw::call(__NR_ptrace, request, thread, address, data);
}

void unblock_in(int thread, const work& what) noexcept {
  if (trace(PTRACE_SEIZE, thread) != 0) return;
  trace(PTRACE_INTERRUPT, thread);
  int status = 0;
  raw::call(__NR_wait4, thread, &status, __WALL, 0);
  if (!WIFSTOPPED(status)) return;
  std::uint64_t mask = 0;
  const auto* const size = reinterpret_cast<const void*>(sizeof mask);
  std::uintptr_t base = 0;
  if (trace(PTRACE_GETSIGMASK, thread, size, &mask) == 0 &&
      trace(PTRACE_PEEKUSER, thread, reinterpret_cast<const void*>(arch::thread_base_in_user_area), &base) ==
          0) {
    mask &= ~signal_bit(what.signo);
    *reinterpret_cast<volatile bool*>(base + static_cast<std::uintptr_t>(what.noted)) = true;
    trace(PTRACE_SETSIGMASK, thread, size, &mask);
  }
  // Stopped by a signal of its own, and not by us: it takes it along.
  const bool by_us = status >> 16 == PTRACE_EVENT_STOP;
  trace(PTRACE_DETACH, thread, nullptr, reinterpret_cast<const void*>(by_us ? 0L : long{WSTOPSIG(status)}));
}

int run_child(void* argument) {
  const auto& what = *static_cast<const work*>(argument);
  for (const int thread : what.threads) unblock_in(thread, what);
  return 0;
}

/// Where Yama is at work a process may be traced by its parents only, unless it says otherwise: prctl(2).
class open_to_tracers {
 public:
  open_to_tracers() noexcept { raw::call(__NR_prctl, PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0); }
  ~open_to_tracers() { raw::call(__NR_prctl, PR_SET_PTRACER, 0, 0, 0, 0); }
  open_to_tracers(const open_to_tracers&) = delete;
  open_to_tracers& operator=(const open_to_tracers&) = delete;
};

}  // namespace

namespace {

bool unblock_in(const std::vector<int>& threads, int signo, std::ptrdiff_t noted) {
  constexpr std::size_t stack_size = std::size_t{64} * 1024;
  const auto stack = std::make_unique<std::byte[]>(stack_size);
  work what{threads, signo, noted};
  const open_to_tracers open;
  // Without a signal at its end it is no child that the program's own wait() finds.
  const int child =
      ::clone(run_child, stack.get() + stack_size, CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_FS, &what);
  if (child < 0) return false;
  while (raw::call(__NR_wait4, child, nullptr, __WALL, 0) == -EINTR) {
  }
  return true;
}

}  // namespace

int unblock_in_other_threads(int signo, std::ptrdiff_t noted) {
  // Threads that are being made have all signals blocked for a moment, and so have those that make them, or
  // leave a hold: who is found so may be another one each time. They are waited for, as their masks are about
  // to be put back, but not for long: a thread may have made a mask of its own without libc.
  constexpr int rounds = 20, most_moments = 10;
  constexpr timespec moment{0, 200'000};
  auto threads = threads_that_block(signo);
  for (int round = 0, moments = 0; round < rounds && !threads.all.empty(); ++round) {
    for (; threads.in_passing && moments < most_moments; ++moments) {
      raw::sleep(moment);
      threads = threads_that_block(signo);
    }
    if (threads.all.empty()) return 0;
    if (!unblock_in(threads.all, signo, noted)) return threads.all.front();
    if (round > 0) raw::call(__NR_sched_yield);
    threads = threads_that_block(signo);
  }
  return threads.all.empty() ? 0 : threads.all.front();
}

std::string describe_thread(int id) {
  std::ifstream file{"/proc/self/task/" + std::to_string(id) + "/comm"};
  std::string name;
  std::getline(file, name);
  return "thread " + std::to_string(id) + (name.empty() ? "" : " (" + name + ")");
}

}  // namespace libprobe::os
