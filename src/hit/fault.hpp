// Faults of displaced instructions, and signals that are not ours.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include "site/site.hpp"

namespace libprobe::hit {

/// The instruction at `address` faulted with the program's state in `regs`. The probes' fault handlers are
/// asked, then the program's own action runs as if the fault had happened there. `context` afterwards holds
/// the state to go on with. False: nobody handles it; the next execution at that address kills the process,
/// as it should. The program's handler may leave by an exception, or by a jump.
bool deliver_fault(std::uintptr_t address, int signo, siginfo_t& info, ucontext_t& context, registers& regs);

/// Gives a signal to the action that was there before libprobe's. `breakpoint`: the address of the breakpoint
/// that raised it, 0 if none did. Comes back if the program goes on.
void pass_on(int signo, siginfo_t& info, ucontext_t& context, std::uintptr_t breakpoint);

}  // namespace libprobe::hit
