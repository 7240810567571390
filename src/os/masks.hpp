// The signal masks of the other threads, which only a tracer can change.
#pragma once

#include <cstddef>

namespace libprobe::os {

/// Unblocks a signal in every thread but the calling one, and in each that had it blocked sets the bool that
/// lies `noted` bytes from the thread's base. It is done by a short-lived child that shares this memory and
/// traces those threads (ptrace(2), PTRACE_SETSIGMASK); system calls that they wait in go on, but for those
/// that signal(7) lists as ended by a stop. False if a thread still has it blocked: the kernel allows no
/// tracing, or a debugger is attached. True as well where /proc does not tell. Blocks, allocates.
bool unblock_in_other_threads(int signo, std::ptrdiff_t noted);

}  // namespace libprobe::os
