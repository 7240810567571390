// Children that borrow a thread's memory, thread-local memory and all, until they execute another program or
// end: vfork(), posix_spawn(). Calls and runs of replacements that they begin seem to be the thread's, and
// never return.
//
// A guard at libc's entries to these (src/control/escape_guards.cpp) tells of the moment from which on that
// may be. When the thread itself goes on, such children have gone.
#pragma once

#include "site/site.hpp"

namespace libprobe::hit {

/// From now on the code that runs here may be a child's. Inside a section, in a handler, as what follows.
void expect_guest() noexcept;

/// True: it is the thread itself, and what children have begun here is over: unwind handlers run. False: it
/// is a child. A system call, if a child was to be expected.
bool settle_guest() noexcept;
/// The same in no section and no handler.
bool settle_guest_between_hits() noexcept;

/// What guards at the entries of vfork and its like call (control::guard_hooks).
site::step on_spawn(site::attachment& guard, site::hit& hit) noexcept;

}  // namespace libprobe::hit
