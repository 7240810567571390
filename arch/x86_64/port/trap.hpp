// See arch/trap.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace libprobe::arch {

inline constexpr std::size_t red_zone = 128;  // System V ABI, 3.2.2

/// int3, and its address is reported as that of the byte behind it.
inline std::uintptr_t behind_breakpoint() noexcept { return 1; }

/// Error code, trap number, fault address.
struct fault_words {
  std::int64_t error, trap, address;
};

}  // namespace libprobe::arch
