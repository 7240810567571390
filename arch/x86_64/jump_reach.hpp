// The addresses that a jump can lead to.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "port/patch.hpp"

namespace libprobe::arch {

/// Those that the free bits of a shape's distance leave for the jump at one address, in ascending order. It
/// never leads around an end of the address space.
class jump_reach {
 public:
  static constexpr auto none = ~std::uintptr_t{0};

  jump_reach(const jump_shape& shape, std::uintptr_t address) noexcept
      : fixed_{shape.fixed},
        wanted_{(shape.distance ^ half) & shape.fixed},
        middle_{address + shape.window},
        start_{middle_ - half},
        first_{middle_ > lowest_address + half ? start_ : lowest_address},
        last_{std::min(middle_ + half - 1, highest_address)} {}

  /// The first of them from `at` on.
  [[nodiscard]] std::uintptr_t next(std::uintptr_t at) const noexcept {
    at = std::max(at, first_);
    if (at > last_) return none;
    const auto offset = static_cast<std::uint32_t>(at - start_);
    const auto wrong = (offset ^ wanted_) & fixed_;
    if (wrong == 0) return at;
    // Above the highest wrong bit all stays, where that bit has to be set; else the free bits there count
    // one up. Those below become 0.
    const auto highest = std::bit_floor(wrong);
    const auto below = std::uint64_t{highest} * 2 - 1;
    const auto free = (offset & highest) == 0 ? offset & ~below : (offset | fixed_ | below) + 1;
    const auto found = (free & ~std::uint64_t{fixed_}) | wanted_;
    return found <= last_ - start_ ? start_ + found : none;
  }
  [[nodiscard]] bool allows(std::uintptr_t target) const noexcept { return next(target) == target; }
  /// What is nearest lies here, to either side.
  [[nodiscard]] std::uintptr_t middle() const noexcept { return middle_; }

 private:
  static constexpr std::uintptr_t lowest_address = 0x10000;
  static constexpr std::uintptr_t highest_address = 0x7fff'ffff'0000;
  static constexpr std::uint32_t half = 0x8000'0000;  // distances are counted from the lowest one

  std::uint32_t fixed_, wanted_;
  std::uintptr_t middle_, start_, first_, last_;
};

}  // namespace libprobe::arch
