// The program's own signal handlers, and its view of SIGTRAP: which is never blocked in truth.
#pragma once

#include <ucontext.h>

#include <libprobe/registers.hpp>

#include "site/actions.hpp"

namespace libprobe::hit {

/// Runs the program's handler. It finds the mask that it believes in, and what it makes of it is kept. Comes
/// back unless the handler leaves by an exception or a jump.
void call_handler(const os::signal_action& action, int signo, siginfo_t* info, ucontext_t& context);

/// The program's handler has asked to be called once (SA_RESETHAND): the default action from now on.
void reset_action(int signo) noexcept;

/// A SIGTRAP for a thread that believes it has it blocked: kept until it unblocks it, as the kernel would.
void keep_trap(const siginfo_t& info) noexcept;
/// Sends it again, if there is one and the thread would take it.
void send_kept_trap() noexcept;

/// What guards at system calls that change signal actions and masks call (control::guard_hooks): stands in
/// for the system call. False: it is another one, which runs as it is. Signal-safe.
bool answer_signal_call(registers& regs) noexcept;

}  // namespace libprobe::hit
