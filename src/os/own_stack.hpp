// Where the calling thread's own stack lies, found out without libc.
#pragma once

#include <cstdint>

namespace libprobe::os {

/// True if the stack pointer lies on it, or has run off its end into a guard page. False, too, where
/// /proc/self/maps cannot be read. Signal-safe. Reads that whole file the first time, and for the initial
/// thread again where its stack may have grown.
bool on_own_stack(std::uintptr_t sp) noexcept;

}  // namespace libprobe::os
