// membarrier(2), and what does as well where a sandbox or an old kernel refuses it. Signals to all threads
// would not: a thread that blocks them would hold up the rest for ever.
#include "os/barrier.hpp"

#include <array>
#include <atomic>
#include <climits>

#include "arch/text.hpp"
#include "os/pages.hpp"
#include "os/raw.hpp"

namespace libprobe::os {

namespace {

std::atomic<bool> asymmetric{false};

/// Taking a touched page away makes the kernel interrupt every CPU that runs this process to flush its TLB,
/// and returning from that interrupt serialises; a CPU that runs something else comes back to this process by
/// loading its page table, which serialises too. liburcu did the same before membarrier existed. Not where
/// the CPU tells the others by itself.
bool take_a_page_away() noexcept {
  if (!arch::page_flush_interrupts()) return false;
  // On the stack, so that there is nothing to ask for, to lock, or to leave behind in a forked child.
  std::byte room[2 * arch::code_page];
  const auto size = page_size();
  const auto at = page_end(reinterpret_cast<std::uintptr_t>(room));
  *reinterpret_cast<volatile std::byte*>(at) = std::byte{1};
  if (raw::advise(reinterpret_cast<void*>(at), size, MADV_DONTNEED)) return true;
  if (!raw::protect(at, size, PROT_READ)) return false;
  raw::protect(at, size, PROT_READ | PROT_WRITE);
  return true;
}

/// While this thread runs on a CPU no other one does, and whoever ran there has been interrupted.
bool visit_all_cpus() noexcept {
  constexpr std::size_t most_cpus = 8192;
  constexpr std::size_t bits = sizeof(long) * CHAR_BIT;
  using set = std::array<unsigned long, most_cpus / bits>;
  set before{};
  const long known = raw::call(__NR_sched_getaffinity, 0, sizeof before, before.data());
  if (known <= 0) return false;
  bool visited = false;
  for (std::size_t cpu = 0; cpu < static_cast<std::size_t>(known) * CHAR_BIT; ++cpu) {
    set one{};
    one[cpu / bits] = 1UL << (cpu % bits);
    // Refused for those that do not exist and those that no thread of this process may run on.
    visited = raw::call(__NR_sched_setaffinity, 0, sizeof one, one.data()) == 0 || visited;
  }
  if (visited) raw::call(__NR_sched_setaffinity, 0, static_cast<std::size_t>(known), before.data());
  return visited;
}

/// Some ticks of the clock: each interrupts the CPU, and without them its store buffer drains in far less.
void wait_for_ticks() noexcept {
  timespec left{0, 20'000'000};
  while (!raw::sleep(left, &left)) {
  }
}

void interrupt_all_cores() noexcept {
  if (!take_a_page_away() && !visit_all_cpus()) wait_for_ticks();
}

}  // namespace

void prepare_barriers() noexcept {
  raw::membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
  if (raw::membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) asymmetric = true;
}

bool barriers_are_asymmetric() noexcept { return asymmetric.load(std::memory_order_relaxed); }

void heavy_barrier() noexcept {
  if (barriers_are_asymmetric() && !raw::membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) interrupt_all_cores();
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void synchronize_cores() noexcept {
  if (!raw::synchronize_cores()) interrupt_all_cores();
}

}  // namespace libprobe::os
