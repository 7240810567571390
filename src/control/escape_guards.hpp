// Guards at libc's ways to leave functions without returning from them, and to lend memory to a child that
// will.
#pragma once

#include <vector>

#include "control/registry.hpp"

namespace libprobe::control {

/// One at the entry of each function of the longjmp family, so far as its buffers are as we read them, and of
/// vfork() and its like. To be placed each for itself: without one of them escapes are noticed later, or
/// never. Throws std::bad_alloc.
std::vector<request> escape_guards();

}  // namespace libprobe::control
