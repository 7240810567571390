// See arch/insn.hpp. Nothing is an instruction here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace libprobe::arch {

inline constexpr std::size_t max_instruction_length = 4;
inline constexpr std::size_t landing_pad_length = 0;

struct instruction {
  std::uint8_t length = 0;
};

class branch_targets {
 public:
  branch_targets(std::span<const std::uint8_t> /*function*/, std::size_t /*behind*/) noexcept {}
  void add(std::size_t /*offset*/) noexcept {}
  /// A branch may lead anywhere.
  [[nodiscard]] std::uint32_t behind(std::span<const std::uint8_t> /*function*/, std::size_t /*offset*/,
                                     std::size_t /*length*/) const noexcept {
    return ~std::uint32_t{0};
  }
};

}  // namespace libprobe::arch
