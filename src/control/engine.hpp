// What must be in place before the first probe: barriers, signal handlers, fork handlers.
#pragma once

#include <libprobe/error.hpp>

namespace libprobe::control {

/// Idempotent; under the registry's lock. errc::signal_refused if the kernel does not take our handlers.
errc prepare_engine() noexcept;

}  // namespace libprobe::control
