// The stack that signal handlers of the calling thread run on: sigaltstack(2).
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>

namespace libprobe::os {

/// The last one that a handler of this thread was seen to begin on.
struct signal_stack {
  std::uintptr_t low = 0, high = 0;
  std::uintptr_t interrupted = 0;  // the stack pointer, elsewhere, of what that handler interrupted
};
extern __thread signal_stack own_signal_stack __attribute__((tls_model("initial-exec")));

/// A handler begins, of a signal that interrupted `frame` at `sp`. Part of the hit path.
inline void note_signal_stack(const ucontext_t& frame, std::uintptr_t sp) noexcept {
  // As the kernel found it when the signal came: with SS_AUTODISARM it is none while the handler runs.
  const auto low = reinterpret_cast<std::uintptr_t>(frame.uc_stack.ss_sp);
  const auto size = frame.uc_stack.ss_size;
  if (reinterpret_cast<std::uintptr_t>(&frame) - low >= size || sp - low < size) return;
  own_signal_stack = {low, low + size, sp};
}

/// True if the address lies on it. Signal-safe; a system call where no handler has been seen there.
bool on_signal_stack(std::uintptr_t address) noexcept;

}  // namespace libprobe::os
