// Which process the memory belongs to. A child may share it (vfork, posix_spawn, clone with CLONE_VM), or
// have a copy of it (fork), of which libc need not know.
#pragma once

namespace libprobe::os {

/// This memory is the calling process's: at the start, and in a child that has a copy.
void settle() noexcept;
/// Signal-safe: the process that settled. Its threads are those that this memory knows.
int home_process() noexcept;
/// Signal-safe, a system call: the caller belongs to another process, which shares this memory for a while.
bool is_guest() noexcept;
/// False: that process has ended, or executes another program, and its memory is not this. True where the
/// kernel does not tell. Signal-safe, a system call.
bool may_share_memory(int process) noexcept;
/// Since settle() this memory has become a copy, in a child of the process. Signal-safe.
bool was_copied() noexcept;

/// The calling thread is the one that the program began with, on the stack that the kernel made; in a child,
/// too, that this one forked. Signal-safe.
bool is_initial_thread() noexcept;

}  // namespace libprobe::os
