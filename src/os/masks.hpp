// The signal masks of the other threads, which only a tracer can change.
#pragma once

#include <cstddef>
#include <string>

namespace libprobe::os {

/// Unblocks a signal in every thread but the calling one, and in each that had it blocked sets the bool that
/// lies `noted` bytes from the thread's base. It is done by a short-lived child that shares this memory and
/// traces those threads (ptrace(2), PTRACE_SETSIGMASK); system calls that they wait in go on, but for those
/// that signal(7) lists as ended by a stop. The id of a thread that still has it blocked: the kernel allows
/// no tracing, or a debugger is attached. 0 if there is none, and where /proc does not tell. Blocks,
/// allocates.
int unblock_in_other_threads(int signo, std::ptrdiff_t noted);

/// Its number and its name, for people to read. Blocks, allocates.
std::string describe_thread(int id);

}  // namespace libprobe::os
