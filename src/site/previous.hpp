// The signal actions that libprobe's handlers replaced, for the hit path to pass on what is not ours.
#pragma once

#include "os/signals.hpp"

namespace libprobe::site {

inline constexpr int handled_signals[] = {SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

/// By signal number. Written by control before our handler is in place.
extern constinit os::signal_action previous[65];

}  // namespace libprobe::site
