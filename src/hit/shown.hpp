// What a program's signal handler is shown, where the signal found the thread in libprobe's code.
#pragma once

#include <ucontext.h>

#include "arch/slot.hpp"
#include "arch/trap.hpp"

namespace libprobe::hit {

/// From registers found in libprobe's code to the program's, and back.
struct shown {
  arch::way_back back;         // back.ip is 0 if the thread was not in such code
  std::uintptr_t ip = 0;       // what the program sees
  std::uintptr_t address = 0;  // of the instruction whose slot it was; 0: it was in none
  bool steps = false;          // that slot runs under the trap flag
  bool trapped = false;        // by a breakpoint, which libprobe_on_trap() has not seen
};
/// Where the registers are those of a thread in a hop, a slot or a return slot, they become what the program
/// would have. Signal-safe.
shown show(registers& regs) noexcept;
/// The thread goes on there with the registers as they are now, unless the program was sent elsewhere.
void go_on(const shown& how, registers& regs) noexcept;

/// The same for a signal frame. False: it shows the program's state already. `trapped`: it may be a
/// breakpoint's that libprobe_on_trap() has not seen yet.
bool show(ucontext_t& frame, shown& how, bool trapped = false) noexcept;
/// To be the last that is done with the frame: until the return from its signal no other one comes in, which
/// might find it as no unwinder knows it.
void go_on(const shown& how, ucontext_t& frame) noexcept;

/// arch::store(), whole to whoever comes in between.
struct change {
  const registers* to;
  ucontext_t* frame;
};
extern __thread const change* changing __attribute__((tls_model("initial-exec")));
void store(const registers& regs, ucontext_t& frame) noexcept;

/// What the frame of a trap shows is libprobe's again: until the entry code leaves by it.
inline void untell(ucontext_t& frame, siginfo_t& info) noexcept {
  info.si_code = SI_USER;  // the breakpoint has been seen
  frame.uc_link = libprobe_untold;
  libprobe_untold = &frame;
}

/// The frame at the front of libprobe_untold shows what the program shall see, or nobody will look.
inline void told(ucontext_t& frame) noexcept {
  libprobe_untold = frame.uc_link;
  frame.uc_link = nullptr;
}

}  // namespace libprobe::hit
