// See arch/slot.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "port/insn.hpp"

namespace libprobe::arch {

struct displaced {
  enum class method : std::uint8_t { emulate, copy, step };
  method how = method::copy;
  std::uint8_t length = 0;
  std::uint8_t original[max_instruction_length] = {};
};

struct slot_layout {
  std::uint8_t units = 1;
};
inline constexpr std::size_t slot_unit = 64;

}  // namespace libprobe::arch
