// How control leaves without returning, and what becomes of what the thread had begun.
//
//  - libc's longjmp family: a guard stands at its entry (src/control/escape_guards.cpp), and reads where it
//  leads.
//  - An unwinder passes a frame of ours: its personality routine is called (unwind.cpp).
//  - The thread ends: its records are found to belong to nobody (src/epoch/reader.cpp).
//  - A jump of the program's own (setcontext, assembly): nobody tells. What was open is found by the thread's
//  next
//    hit that cannot be inside of it (epoch::enter(), forget_left_behind()).
#pragma once

#include <cstdint>

#include "arch/trap.hpp"

namespace libprobe::hit {

/// The thread's stack pointer, `from`, is about to be `to`. Handlers and sections that lie in between are
/// over, and so are replacements. Outside of a section; unwind handlers may run.
void leave_for(std::uintptr_t from, std::uintptr_t to) noexcept;

/// What guards at the entries of longjmp and its like call (control::guard_hooks): stands in for the first
/// instruction, which then runs: always false.
bool on_longjmp(registers& regs) noexcept;

}  // namespace libprobe::hit
