// What probes are told of a tracer, and what it is told of probes.
//
// Floor: control, on site and os. Of control it knows only whether jumps are wanted (engine.hpp).
// Words: a *tracer* is a debugger, or what else ptrace()s the process; a *deaf* thread has SIGTRAP blocked.
#pragma once

#include <cstddef>
#include <string>

namespace libprobe::control {

/// While somebody traces the process a breakpoint stops it, and kills a thread that has SIGTRAP blocked:
/// then probes are jumps, unless it is asked to have none.
bool traps_are_avoided() noexcept;

/// A breakpoint kills where SIGTRAP is blocked: unblocks it in all threads. False if it still is, in one that
/// is remembered. Control only, under its lock.
bool unblock_trap();
/// The thread that has it blocked, since the kernel does not let us change that; 0: none has.
int deaf_thread() noexcept;
/// That thread, and why, for messages.
std::string why_blocked();
/// Text is written without breakpoints on the way.
bool writes_avoid_traps() noexcept;
/// As long as one lives, that is so in any case, where the kernel lets us. Control only, under its lock.
class quiet_writes {
 public:
  quiet_writes() noexcept;
  ~quiet_writes();
  quiet_writes(const quiet_writes&) = delete;
  quiet_writes& operator=(const quiet_writes&) = delete;
};

/// Of `all` probes that were registered just now under a tracer so many are breakpoints: says so on stderr,
/// with what helps in gdb, once in the life of the process.
// A text of known length into a buffer: nothing throws.
// NOLINTNEXTLINE(bugprone-exception-escape)
void tell_of_breakpoints(std::size_t breakpoints, std::size_t all) noexcept;

}  // namespace libprobe::control
