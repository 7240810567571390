// What probes are told of a tracer, and what it is told of probes.
#pragma once

#include <cstddef>

namespace libprobe::control {

/// While somebody traces the process a breakpoint stops it, unless it is asked to have no jumps.
bool traps_are_avoided() noexcept;

/// Of `all` probes that were registered just now under a tracer so many are breakpoints: says so on stderr,
/// with what helps in gdb, once in the life of the process.
void tell_of_breakpoints(std::size_t breakpoints, std::size_t all) noexcept;

}  // namespace libprobe::control
