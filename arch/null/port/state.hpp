// See arch/state.hpp. Handlers may do everything, and so nothing is enough.
#pragma once

#include <algorithm>
#include <cstdint>

namespace libprobe::arch {

class vector_use {
 public:
  enum level : std::uint8_t { nothing, every_file, everything };

  constexpr vector_use() = default;
  constexpr explicit vector_use(level most, bool /*arithmetic*/ = false, bool ordinary = false) noexcept
      : bits_{static_cast<std::uint32_t>(most) | (ordinary ? ordinary_bit : 0)} {}
  static constexpr vector_use vectors() noexcept { return vector_use{every_file, true}; }
  static constexpr vector_use whole() noexcept { return vector_use{everything}; }
  static constexpr vector_use in_ordinary_context() noexcept { return vector_use{nothing, false, true}; }
  static constexpr vector_use of(std::uint32_t bits) noexcept {
    vector_use made;
    made.bits_ = bits;
    return made;
  }
  [[nodiscard]] constexpr std::uint32_t bits() const noexcept { return bits_; }
  [[nodiscard]] constexpr level most() const noexcept { return static_cast<level>(bits_ & level_bits); }
  [[nodiscard]] constexpr bool arithmetic() const noexcept { return false; }
  [[nodiscard]] constexpr bool ordinary() const noexcept { return (bits_ & ordinary_bit) != 0; }
  [[nodiscard]] constexpr bool is_vectors() const noexcept { return most() == every_file; }
  [[nodiscard]] constexpr bool is_more_than_vectors() const noexcept { return most() > every_file; }
  [[nodiscard]] constexpr bool within(vector_use saved) const noexcept {
    return most() <= saved.most() && (bits_ & ~saved.bits_ & ordinary_bit) == 0;
  }
  constexpr void add(vector_use other) noexcept {
    bits_ = std::max(bits_ & level_bits, other.bits_ & level_bits) | ((bits_ | other.bits_) & ordinary_bit);
  }
  [[nodiscard]] constexpr vector_use vectors_only() const noexcept {
    return of(std::min<std::uint32_t>(bits_ & level_bits, every_file));
  }

 private:
  static constexpr std::uint32_t level_bits = 0xff, ordinary_bit = 0x200;
  std::uint32_t bits_ = nothing;
};

constexpr vector_use all_saved() noexcept { return vector_use{vector_use::everything, true, true}; }

}  // namespace libprobe::arch
