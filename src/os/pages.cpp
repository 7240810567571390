// Part of the hit path: raw system calls only.
#include "os/pages.hpp"

#include "os/raw.hpp"

namespace libprobe::os::detail {

constinit std::atomic<std::size_t> page_size{0};

/// mincore() refuses an address that is not a page's, and looks at that before all else.
std::size_t learn_page_size() noexcept {
  constexpr std::size_t smallest = 4096, largest = 65536;
  std::size_t size = smallest;
  while (size < largest && raw::call(__NR_mincore, size, 0, nullptr) == -EINVAL) size *= 2;
  page_size.store(size, std::memory_order_relaxed);
  return size;
}

}  // namespace libprobe::os::detail
