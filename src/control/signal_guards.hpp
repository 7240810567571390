// Where libc changes signal actions and masks: there libprobe's handlers stay, and SIGTRAP is never blocked,
// whatever the program is told.
//
// Floor: control, on symbols and arch. Of control it knows single guards only.
#pragma once

#include <vector>

#include "control/guard.hpp"

namespace libprobe::control {

/// One guard for each place in libc's text (the program's own, where it is linked in) that may change what
/// probes need. To be placed at the first registration; throws std::bad_alloc.
std::vector<request> signal_guards(bool (*answer_signal_call)(registers&));

}  // namespace libprobe::control
