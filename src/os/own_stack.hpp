// Where the calling thread's own stack lies, found out without libc.
#pragma once

#include <cstdint>

namespace libprobe::os {

struct stack_extent {
  std::uintptr_t low = 0, high = 0;
  [[nodiscard]] bool has(std::uintptr_t address) const noexcept { return address - low < high - low; }
};

/// The calling thread's, so far as it has been asked for; else empty.
extern __thread stack_extent own_stack __attribute__((tls_model("initial-exec")));

/// Asks for it: of the kernel, or where that is older than Linux 6.11 by reading /proc/self/maps.
/// Signal-safe.
void find_own_stack() noexcept;

/// True if the stack pointer lies on it, or has run off its end into a guard page. False, too, where
/// /proc/self/maps cannot be read. Signal-safe. Asks for it the first time, and for the initial thread again
/// where its stack may have grown.
bool on_own_stack(std::uintptr_t sp) noexcept;

}  // namespace libprobe::os
