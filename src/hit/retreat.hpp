// A jump that costs more than it saves goes back to a breakpoint by itself.
#pragma once

#include <cstdint>

namespace libprobe::hit {

/// Turns the jump at the address into a breakpoint, unless control is at work: then the next one tries again.
/// In a signal handler; raw system calls only.
void retreat(std::uintptr_t address) noexcept;

}  // namespace libprobe::hit
