#include "os/zeros.hpp"

#include <sys/mman.h>

namespace libprobe::os {

void* map_zeros(std::size_t size) noexcept {
  void* const at =
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at != MAP_FAILED ? at : nullptr;
}

void clear_zeros(void* from, std::size_t size) noexcept { madvise(from, size, MADV_DONTNEED); }

}  // namespace libprobe::os
