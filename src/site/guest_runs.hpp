// Runs of replacements in guests: in children that borrow a thread's memory (src/hit/guest.hpp). One that
// executes another program, or ends, inside of a replaced function leaves its run begun for ever. So such
// runs are written down where everybody finds them, and end when their guest is certain to have gone: its
// thread goes on, or the kernel says that its process shares this memory no more.
#pragma once

#include <atomic>
#include <cstdint>

#include "site/thread.hpp"

namespace libprobe::site {

/// Of a guest: what begins here stands on the calling thread's list already. Signal-safe.
void note_guest_run(replacement_run& run) noexcept;
/// And is about to be taken from there, in that guest, or in what that guest has forked.
void forget_guest_run(const replacement_run& run) noexcept;

/// The caller may be a guest: whether guests were expected here, and it is not the thread itself.
/// Signal-safe, a system call or two where they were.
bool may_be_guest() noexcept;
/// By the thread itself, where it runs no guest can: their runs are over, and its list of runs is as they
/// found it, less what it has ended since. Nothing in a guest. Signal-safe.
void end_guest_runs() noexcept;
/// The same for guests of any thread, where that is certain. A system call for each that runs.
void end_runs_of_gone_guests() noexcept;
/// In a process that has a copy of this memory: guests are elsewhere, but for the caller if it was one, whose
/// runs and calls are its own now. Else after end_guest_runs().
void forget_guests(bool was_guest) noexcept;

}  // namespace libprobe::site
