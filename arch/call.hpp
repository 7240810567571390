// call: functions of the user's called in ordinary context, on the program's stack, outside of signal
// handlers.
//
// The port gives (port/call.hpp): `outcall`, a call that can be left early, of which neutral code reads
// nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include <libprobe/registers.hpp>
#include <libprobe/replacement.hpp>

#include "port/call.hpp"

namespace libprobe::arch {

/// Sends a function that is about to begin to libprobe_on_entry(), or to libprobe_on_replacement(), in
/// ordinary context; `word` will be the instruction pointer that it finds. Signal-safe.
void divert_to_entry(registers& regs, std::uintptr_t word) noexcept;
void divert_to_replacement(registers& regs, std::uintptr_t word) noexcept;

/// Where the stack of the process's first thread ends: no argument lies beyond. Before the first call.
void set_initial_stack_end(std::uintptr_t end) noexcept;

/// Calls `entry` with the arguments in `regs` and `vectors` (as saved by the entry code; null: the vector
/// registers are as they shall be) and a copy of `stack_bytes` bytes of the argument area, so far as they are
/// there. Comes back at its return, or at return_early().
void call_function(const void* entry, const registers& regs, const void* vectors, std::size_t stack_bytes,
                   outcall& call);
[[noreturn]] void return_early(outcall& call) noexcept;
/// As call_function(), and then regs and vectors are as if the function had just returned to its caller: the
/// registers in `result` are the function's, all others as they were.
void call_in_place(const void* entry, registers& regs, void* vectors, std::size_t stack_bytes,
                   result_registers result);
/// The same where the vector registers are still the program's own; but the function has not been left.
void call_live(const void* entry, registers& regs, std::size_t stack_bytes, result_registers result);

/// For the code that calls a site::direct_call: how far from the thread's base it finds the thread's state,
/// and where the current epoch is.
struct direct_words {
  std::int64_t reader, row, busy, runs;
  const void* epoch;
};

}  // namespace libprobe::arch

extern "C" {
// In src/hit: called in ordinary context. A function is about to begin; regs.ip() is the word that was given.
// It goes on at regs.
void libprobe_on_entry(libprobe::registers* regs, void* vectors);
void libprobe_on_replacement(libprobe::registers* regs, void* vectors);

// In two steps that no signal's handler finds half done: see finish_step(). `shared`: other threads add to
// that count, too. All signal-safe.
/// Counts what was chosen to run, and notes it.
void libprobe_choose(void** chosen, void* what, int shared, std::uint64_t* begun) noexcept;
/// Notes its run, and that nothing is chosen any more: `none` is null.
void libprobe_begin_run(void** chosen, void* none, void** runs, void* run) noexcept;
/// Notes what was before, and counts the end.
void libprobe_end_run(void** noted, void* before, int shared, std::uint64_t* ended) noexcept;
/// Set before the first direct call.
extern libprobe::arch::direct_words libprobe_direct_words __attribute__((visibility("hidden")));
}
