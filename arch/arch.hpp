// The seam: all that the rest of libprobe knows about a CPU.
//
// Nine pages, each about one question:
//   insn     what an instruction is, and where control may go
//   patch    breakpoints and jumps in an instruction's place: windows, phases, bytes
//   slot     code out of line, and what a thread inside of it looks like to the program
//   trap     signals that probes raise, and the program's state in their frames
//   ret      where a function returns to, and return slots
//   state    vector registers and the like: what handlers may touch, what must be saved
//   call     the user's functions called in ordinary context
//   text     what the CPU needs where code changes under threads that run it
//   machine  system calls, thread bases, counters, linkage
// A page declares what every port has, in the words of no CPU. A port is a folder beside this file:
// port/PAGE.hpp in it has the types, the constants and what is inline, and all else is its own affair; CMake
// chooses the folder by LIBPROBE_ARCH. Beside it there is only the port's public register header
// (include/libprobe/registers_*.hpp). arch/null is a port that refuses everything: what compiles and links
// with it depends on no CPU. Where a port's assembly finds the members of C++'s structures says offsets.h,
// which is made of port/offsets.hpp (arch/offsets.hpp) when the library is built.
//
// Words: displaced instruction, the one that a breakpoint or a jump has taken the place of; slot, its copy
// out of line; detour, code that a jump leads to, which calls the handlers; hop, or island: a jump on the way
// to one that is too far; window, the bytes that a jump takes; inner boundary, where in it another
// instruction began; member, an instruction of the window; return slot, where a followed call returns to.
//
// Floor: above os, whose system calls and results it uses; below all else. Includes nothing from the other
// folders.
#pragma once

#include "arch/call.hpp"
#include "arch/insn.hpp"
#include "arch/machine.hpp"
#include "arch/patch.hpp"
#include "arch/ret.hpp"
#include "arch/slot.hpp"
#include "arch/state.hpp"
#include "arch/text.hpp"
#include "arch/trap.hpp"
