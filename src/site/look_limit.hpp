// How often it pays to look for what ended threads hold: a look costs a system call for each thread.
#pragma once

#include <cstdint>

#include "os/atomic.hpp"

namespace libprobe::site {

/// Always, but for a while after a look in vain: a recursion that has used up all asks at every call. Who
/// asks while another one looks must look, too, as what that one finds may be in nobody's reach yet.
class look_limit {
 public:
  /// Signal-safe, any thread.
  bool may_look() noexcept {
    auto left = to_skip_.load(std::memory_order_relaxed);
    while (left != 0) {
      if (to_skip_.compare_exchange_weak(left, left - 1, std::memory_order_relaxed)) return false;
    }
    return true;
  }
  /// What was wanted has been found, by a look or without.
  void found() noexcept {
    if (to_skip_.load(std::memory_order_relaxed) != 0) to_skip_.store(0, std::memory_order_relaxed);
  }
  void looked_in_vain() noexcept { to_skip_.store(skipped, std::memory_order_relaxed); }

 private:
  static constexpr std::uint32_t skipped = 63;
  atomic<std::uint32_t> to_skip_{0};
};

}  // namespace libprobe::site
