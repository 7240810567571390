// What the CPU held when a probe was hit. The struct itself is the architecture's own; see the included
// header.
#pragma once

#if defined(LIBPROBE_NULL)  // by CMake, with LIBPROBE_ARCH=null
#include <libprobe/registers_null.hpp>
#elif defined(__x86_64__)
#include <libprobe/registers_x86_64.hpp>
#else
#error "libprobe has no port to this architecture"
#endif

namespace libprobe {

/// Makes the probed function return `value` to its caller at once. For a pre_handler at a function's first
/// instruction, which must then return non-zero. Signal-safe.
template <class T>
void override_return(registers& regs, T value) noexcept {
  regs.set_return_value(value);
  regs.leave_function();
}
/// The same for a function that returns nothing.
inline void override_return(registers& regs) noexcept { regs.leave_function(); }

}  // namespace libprobe
