// What must be in place before the first probe: barriers, signal handlers, fork handlers.
//
// Floor: control, on site, epoch, os, symbols and arch. Of control it knows which copy of the library is at
// work (presence.hpp), and in engine.cpp the registry, for forks only. Words: to *take over* a signal is to
// put libprobe's handler into the kernel and to keep the program's action in site::actions.
#pragma once

#include <libprobe/error.hpp>
#include <string>

namespace libprobe::control {

/// Idempotent; under the registry's lock. errc::signal_refused if the kernel does not take our handlers: then
/// none of them is left, and the next call tries again. errc::unsupported_environment under valgrind.
/// errc::another_copy if another copy of this library is at work in this process.
errc prepare_engine(std::string& detail);

/// Sees to it that our handler stands in the kernel where the program has one, or we need one. False if the
/// kernel refuses.
bool take_over(int signo) noexcept;

/// False if the environment says LIBPROBE_NO_JUMPS=1, as it did at the first registration: all probes are
/// breakpoints.
bool jumps_are_wanted() noexcept;

}  // namespace libprobe::control
