// Followed calls of the calling thread: begun, returned, abandoned.
#pragma once

#include "site/calls.hpp"

namespace libprobe::hit {

/// A free record, put in front of the thread's list; null if all are in use. First drops what longjmp has
/// left behind. Only while this thread is in a handler, as everything here: so no signal handler's hits come
/// in between. `used`: how far down libprobe uses the program's own stack now; 0: it is on another one.
site::followed_call* begin_call(const registers& regs, std::uintptr_t used) noexcept;

/// As begin_call() did first, but looks at all calls of the thread. `begun` is the call that is beginning,
/// which looks like one that longjmp has left behind.
void drop_left_behind(const registers& regs, std::uintptr_t used, site::followed_call& begun) noexcept;

/// The calls that ended threads have left behind, so far as nothing on their stacks says that they are alive:
/// unwind handlers run here. Inside a section, in a handler; a system call for each thread that has calls.
void drop_of_ended_threads() noexcept;

/// Takes the call out of the list, and gives back its slot. Its instances are the caller's, noted as
/// returning. The saved return address may be gone afterwards.
void end_call(site::followed_call& call) noexcept;

/// The call will never return: unwind handlers run, instances are given back. The slot is kept until the
/// thread's next operation here from the same height of the stack, since the unwinder that told us still
/// needs it.
void abandon_call(site::followed_call& call) noexcept;

/// What the thread's hit had begun before its handlers were left for good.
void abandon_beginnings() noexcept;

/// Every instance runs its pool's unwind handler and goes back.
void abandon_instances(retprobe_instance* first) noexcept;

}  // namespace libprobe::hit
