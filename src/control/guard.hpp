// A guard: libprobe's own hook in libc or the loader, by which it learns of what probes must know.
//
// Floor: control, on site. Of control it knows requests only. What guards do is given from above: the api
// knows both control and hit, so neither needs the other's names.
// Words: a guard *stands in* for the displaced instruction if it has done that one's work itself; see
// site::stand_in.
#pragma once

#include "arch/state.hpp"
#include "control/request.hpp"
#include "site/site.hpp"

namespace libprobe::control {

/// What hit does where guards stand.
struct guard_hooks {
  /// At system calls that change signal actions and masks; see signal_guards.hpp.
  bool (*answer_signal_call)(registers& regs) = nullptr;
  /// At the entries of longjmp and vfork, and their like; see escape_guards.hpp.
  bool (*on_longjmp)(registers& regs) = nullptr;
  site::step (*on_spawn)(site::attachment& guard, site::hit& hit) = nullptr;
};

/// What control itself does in the loader; see loader_guard.hpp.
struct loader_hooks {
  void (*modules_changed)() noexcept = nullptr;
  void (*constructors_begin)() noexcept = nullptr;
};

/// One at an address, whose hits `stand_in` answers. It is never removed. Throws std::bad_alloc.
request guard_at(std::uintptr_t address, bool (*stand_in)(registers&), arch::vector_use vectors = {});

}  // namespace libprobe::control
