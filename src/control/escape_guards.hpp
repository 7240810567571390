// Guards at libc's ways to leave functions without returning from them, and to lend memory to a child that
// will.
//
// Floor: control, on symbols and arch. Of control it knows single guards only.
#pragma once

#include <vector>

#include "control/guard.hpp"

namespace libprobe::control {

/// One at the entry of each function of the longjmp family, so far as its buffers are as we read them, and of
/// vfork() and its like. To be placed each for itself: without one of them escapes are noticed later, or
/// never. Throws std::bad_alloc.
std::vector<request> escape_guards(const guard_hooks& hooks);

}  // namespace libprobe::control
