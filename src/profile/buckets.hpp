// Log-linear buckets: every power of two in 32 equal parts, so a bucket's middle is never more than a 64th
// off.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace libprobe::profile {

struct buckets {
  static constexpr unsigned part_bits = 5;
  static constexpr unsigned value_bits = 42;  // longer calls (more than 20 minutes at 3 GHz) count as so long
  static constexpr std::size_t count = static_cast<std::size_t>(value_bits - part_bits + 1) << part_bits;
  static constexpr std::uint64_t longest = (std::uint64_t{1} << value_bits) - 1;

  /// Values below 32 have a bucket each; above, the exponent and the five bits below the leading one tell.
  static constexpr std::size_t of(std::uint64_t value) noexcept {
    if (value > longest) value = longest;
    const auto shift = static_cast<unsigned>(std::bit_width(value >> part_bits | 1U)) - 1;
    return (static_cast<std::size_t>(shift) << part_bits) + static_cast<std::size_t>(value >> shift);
  }
  static constexpr std::uint64_t first_in(std::size_t bucket) noexcept {
    const std::size_t parts = std::size_t{1} << part_bits;
    if (bucket < 2 * parts) return bucket;
    const std::size_t shift = (bucket >> part_bits) - 1;
    return static_cast<std::uint64_t>(parts + (bucket & (parts - 1))) << shift;
  }
  static constexpr std::uint64_t last_in(std::size_t bucket) noexcept { return first_in(bucket + 1) - 1; }
};
static_assert(buckets::of(buckets::longest) == buckets::count - 1);

}  // namespace libprobe::profile
