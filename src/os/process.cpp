// Part of the hit path: raw system calls only.
#include "os/process.hpp"

#include <atomic>

#include "os/pages.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

namespace {

constinit std::atomic<int> home{0};
constinit std::atomic<std::uintptr_t> initial{0};  // that thread's base; 0: it has not been seen
// In a page that the kernel clears in children; where it does not know how, only libc's fork is noticed.
constinit volatile int* settled = nullptr;

volatile int* map_forgetful_page() noexcept {
  const auto size = page_size();
  const long page = raw::map(0, size, PROT_READ | PROT_WRITE, 0);
  if (raw::refused(page)) return nullptr;
  auto* const there = reinterpret_cast<int*>(page);
  if (raw::advise(there, size, MADV_WIPEONFORK)) return there;
  raw::unmap(static_cast<std::uintptr_t>(page), size);
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
bool may_share_memory(int process) noexcept {
  constexpr int of_memory = 1;  // KCMP_VM, linux/kcmp.h
  const long answer = raw::call(__NR_kcmp, process_id(), process, of_memory, 0, 0);
  return answer == 0 || (answer < 0 && answer != -ESRCH);  // positive: an order of two that differ
}
bool was_copied() noexcept { return settled != nullptr && *settled == 0; }

}  // namespace libprobe::os
