// Which instances of a pool are in use: one byte for each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "epoch/epoch.hpp"
#include "os/atomic.hpp"
#include "site/thread.hpp"

namespace libprobe::site {

/// Numbers below `size`, each claimed by one until it is given back. A claim is one locked instruction, and
/// giving back is none. Each thread looks first where its own last claim was, as on a stack: so threads
/// seldom meet, neither at a number nor at a cache line.
class claims {
 public:
  static constexpr std::uint32_t none = 0xffffffff;
  /// How many bytes, all zero, adopt() needs.
  static constexpr std::size_t bytes_for(std::size_t size) noexcept {
    return (size + group - 1) / group * group;
  }

  /// Before first use. The memory is the caller's.
  void adopt(void* zeros, std::uint32_t size) noexcept {
    bytes_ = static_cast<atomic<std::uint8_t>*>(zeros);
    size_ = size;
  }

  /// Signal-safe, any thread. `none` when all are claimed.
  std::uint32_t take() noexcept {
    auto& next = self.next_claim;
    // Rows are a page apart; a cache line of these bytes for each will do.
    if (next == 0) next = static_cast<std::uint32_t>(epoch::row_of_thread / (epoch::row_bytes / 64));
    const auto first = next < size_ ? next : next % size_;
    const auto number = claim(first) ? first : search(first);
    if (number != none) next = number + 1;
    return number;
  }
  /// Signal-safe, any thread. What was written to the thing before is seen by whoever takes it next.
  void give(std::uint32_t number) noexcept {
    self.next_claim = number;
    bytes_[number].store(0, std::memory_order_release);  // pairs with claim() and any()
  }

  /// True if any is claimed. Byte by byte, as they were given back: what was written before is seen by who
  /// frees it all now.
  [[nodiscard]] bool any() const noexcept {
    for (std::uint32_t i = 0; i < size_; ++i) {
      if (bytes_[i].load(std::memory_order_acquire) != 0) return true;
    }
    return false;
  }

 private:
  static constexpr std::uint32_t group = sizeof(std::uint64_t);
  static constexpr std::uint64_t all_claimed = 0x0101010101010101;

  bool claim(std::uint32_t number) noexcept {
    return bytes_[number].load(std::memory_order_relaxed) == 0 &&
           bytes_[number].exchange(1, std::memory_order_acquire) == 0;
  }
  /// The bytes from `first` on, which begins a group.
  [[nodiscard]] std::uint64_t group_at(std::uint32_t first) const noexcept {
    return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(bytes_ + first), __ATOMIC_ACQUIRE);
  }

  std::uint32_t search(std::uint32_t first) noexcept;
  std::uint32_t search(std::uint32_t from, std::uint32_t to) noexcept;

  atomic<std::uint8_t>* bytes_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace libprobe::site
