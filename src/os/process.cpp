// Part of the hit path: raw system calls only.
#include "os/process.hpp"

#include <asm/unistd.h>
#include <sys/mman.h>

#include <atomic>

#include "machine.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

namespace {

constinit std::atomic<int> home{0};
constinit std::atomic<std::uintptr_t> initial{0};  // that thread's base; 0: it has not been seen
// In a page that the kernel clears in children; where it does not know how, only libc's fork is noticed.
constinit volatile int* settled = nullptr;

volatile int* map_forgetful_page() noexcept {
  constexpr long size = 4096;
  const long page =
      arch::system_call(__NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page < 0 && page > -size) return nullptr;
  if (arch::system_call(__NR_madvise, page, size, MADV_WIPEONFORK) == 0)
    return reinterpret_cast<volatile int*>(page);
  arch::system_call(__NR_munmap, page, size);
  return nullptr;
}

}  // namespace

void settle() noexcept {
  home.store(process_id(), std::memory_order_relaxed);
  // A child's only thread has the process's number, whichever it was before.
  if (settled == nullptr && thread_id() == process_id())
    initial.store(arch::thread_base(), std::memory_order_relaxed);
  if (settled == nullptr) settled = map_forgetful_page();
  if (settled != nullptr) *settled = 1;
}

int home_process() noexcept {
  const int known = home.load(std::memory_order_relaxed);
  return known != 0 ? known : process_id();  // it has not settled yet
}
bool is_initial_thread() noexcept {
  const auto base = initial.load(std::memory_order_relaxed);
  return base != 0 ? base == arch::thread_base() : thread_id() == process_id();
}
bool is_guest() noexcept { return process_id() != home_process(); }
bool was_copied() noexcept { return settled != nullptr && *settled == 0; }

}  // namespace libprobe::os
