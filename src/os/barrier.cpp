#include "os/barrier.hpp"

#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace libprobe::os {

namespace {

std::atomic<bool> have_membarrier{false};
std::atomic<bool> have_sync_core{false};

bool membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0) == 0; }

/// Taking access away from a touched page makes the kernel interrupt every CPU that runs this process to
/// flush its TLB, and returning from that interrupt serialises. liburcu used the same before membarrier
/// existed.
void interrupt_all_cores() noexcept {
  const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  *static_cast<volatile char*>(page) = 1;
  mprotect(page, size, PROT_NONE);
  munmap(page, size);
}

}  // namespace

void prepare_barriers() noexcept {
  have_membarrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
  have_sync_core = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE);
}

bool barriers_are_asymmetric() noexcept { return have_membarrier.load(std::memory_order_relaxed); }

void heavy_barrier() noexcept {
  if (barriers_are_asymmetric()) membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void synchronize_cores() noexcept {
  if (have_sync_core.load(std::memory_order_relaxed)) {
    membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
  } else {
    interrupt_all_cores();
  }
}

}  // namespace libprobe::os
