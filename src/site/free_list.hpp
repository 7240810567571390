// A lock-free stack of numbers, for pools that are used in signal handlers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/atomic.hpp"

namespace libprobe::site {

/// Numbers below `size`, each handed out once until it is given back; those that never were are taken last,
/// so that what belongs to them is touched late. The head carries a count of changes, so that a number which
/// went and came back in between is noticed. `next` is the caller's memory, one word a number.
class free_list {
 public:
  static constexpr std::uint32_t none = 0xffffffff;

  constexpr free_list() = default;
  constexpr free_list(atomic<std::uint32_t>* next, std::uint32_t size) noexcept : next_{next}, size_{size} {}

  /// Before first use.
  void adopt(atomic<std::uint32_t>* next, std::uint32_t size) noexcept {
    next_ = next;
    size_ = size;
  }

  /// Signal-safe, any thread. `none` when empty.
  std::uint32_t take() noexcept {
    auto head = head_.load(std::memory_order_acquire);
    for (;;) {
      const auto top = static_cast<std::uint32_t>(head);
      if (top == none) return take_fresh();
      const auto below = next_[top].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, with(head, below), std::memory_order_acquire,
                                      std::memory_order_acquire)) {
        return top;
      }
    }
  }
  /// Signal-safe, any thread. What was written to the thing before is seen by whoever takes it next.
  void give(std::uint32_t number) noexcept {
    auto head = head_.load(std::memory_order_relaxed);
    do {
      next_[number].store(static_cast<std::uint32_t>(head), std::memory_order_relaxed);
    } while (!head_.compare_exchange_weak(head, with(head, number), std::memory_order_release,
                                          std::memory_order_relaxed));
  }

  /// Numbers from here on have never been handed out.
  [[nodiscard]] std::uint32_t touched() const noexcept { return fresh_.load(std::memory_order_acquire); }

 private:
  std::uint32_t take_fresh() noexcept {
    auto number = fresh_.load(std::memory_order_relaxed);
    while (number < size_ && !fresh_.compare_exchange_weak(number, number + 1, std::memory_order_relaxed)) {
    }
    return number < size_ ? number : none;
  }
  static std::uint64_t with(std::uint64_t old, std::uint32_t top) noexcept {
    return (((old >> 32) + 1) << 32) | top;
  }

  atomic<std::uint64_t> head_{none};
  atomic<std::uint32_t> fresh_{0};
  atomic<std::uint32_t>* next_ = nullptr;
  std::uint32_t size_ = 0;
};

}  // namespace libprobe::site
