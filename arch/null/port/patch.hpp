// See arch/patch.hpp. A patch would be one aligned word, whatever it holds.
#pragma once

#include <cstddef>
#include <cstdint>

namespace libprobe::arch {

inline constexpr std::size_t breakpoint_length = 4;
inline constexpr std::size_t jump_length = 4;
inline constexpr std::size_t longest_window = 4;
inline constexpr std::size_t most_members = 1;
inline constexpr std::size_t most_shapes = 1;
inline constexpr std::size_t hop_length = 16;
inline constexpr std::uint8_t inner_fillers[] = {0};

enum class tactic : std::uint8_t { breakpoint, over_long };

struct jump_shape {
  tactic how = tactic::breakpoint;
  std::uint8_t members = 1;
  std::uint8_t window = 0;
  std::uint8_t boundaries = 0;
};

/// Nowhere.
class jump_reach {
 public:
  static constexpr auto none = ~std::uintptr_t{0};
  jump_reach(const jump_shape& /*shape*/, std::uintptr_t address) noexcept : middle_{address} {}
  [[nodiscard]] std::uintptr_t next(std::uintptr_t /*at*/) const noexcept { return none; }
  [[nodiscard]] bool allows(std::uintptr_t /*target*/) const noexcept { return false; }
  [[nodiscard]] std::uintptr_t middle() const noexcept { return middle_; }

 private:
  std::uintptr_t middle_;
};

}  // namespace libprobe::arch
