// How large a page of this machine's memory is: Linux has 4, 16 and 64 KiB.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace libprobe::os {

namespace detail {
extern constinit std::atomic<std::size_t> page_size;  // 0: nobody has asked yet
std::size_t learn_page_size() noexcept;
}  // namespace detail

/// In bytes, a power of two. Signal-safe; system calls for the first who asks.
inline std::size_t page_size() noexcept {
  const auto known = detail::page_size.load(std::memory_order_relaxed);
  return known != 0 ? known : detail::learn_page_size();
}
inline std::uintptr_t page_start(std::uintptr_t address) noexcept { return address & ~(page_size() - 1); }
/// Where the page ends that the last byte before `end` lies in.
inline std::uintptr_t page_end(std::uintptr_t end) noexcept { return page_start(end + page_size() - 1); }

}  // namespace libprobe::os
