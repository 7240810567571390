// Guards: libprobe's own hooks at the system calls by which libc changes signal actions and masks.
#pragma once

#include <vector>

#include "control/registry.hpp"

namespace libprobe::control {

/// A guard at an address, whose hits `stand_in` answers; see site::stand_in. Throws std::bad_alloc.
request guard_at(std::uintptr_t address, bool (*stand_in)(registers&), arch::vector_use vectors = {});

/// One for each place in libc's text (the program's own, where it is linked in) that may change what probes
/// need: there libprobe's handlers stay, and SIGTRAP is never blocked, whatever the program is told. They are
/// never removed. To be placed at the first registration; throws std::bad_alloc.
std::vector<request> guard_requests();

}  // namespace libprobe::control
