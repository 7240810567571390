// The seam: all that libprobe knows about a CPU, but for the counter that src/profile times calls by.
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
// with it depends on no CPU.
// Where assembly finds the members of C++'s structures says offsets.h, made when the library is built: of the
// port's own (port/offsets.hpp), and of those of epoch and site that it reads (src/assembly/offsets.cpp). So
// assembly knows these two: x86_64/direct_call.S opens and closes sections by itself.
//
// Words: displaced instruction, the one that a breakpoint or a jump has taken the place of; slot, code out of
// line that belongs to an address: a displaced instruction's copy, a detour, or the way to a replaced
// function's original; detour, code that a jump leads to, which calls the handlers; hop, or island: a jump on
// the way to one that is too far; window, the bytes that a jump takes; inner boundary, where in it another
// instruction began; phase, what stands at a site on the way from the original text to a jump; return slot,
// where a followed call returns to; ordinary context, as a call from the program, on its stack: not in a
// signal handler of libprobe's.
//
// Floor: the ground, which os and arch share: uses os/result.hpp and os::read_memory(), and makes the system
// calls for os. Includes nothing else; but its assembly calls libprobe_on_*() in src/hit, declared in its
// pages.
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
