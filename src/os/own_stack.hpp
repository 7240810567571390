// Where the calling thread's own stack lies, found out without libc.
#pragma once

#include <cstdint>

namespace libprobe::os {

struct stack_extent {
  std::uintptr_t low = 0, high = 0;
  [[nodiscard]] bool has(std::uintptr_t address) const noexcept { return address >= low && address < high; }
};

/// False where /proc/self/maps cannot be read. Signal-safe; reads that whole file, so only where it is
/// needed.
bool find_own_stack(stack_extent& found) noexcept;

}  // namespace libprobe::os
