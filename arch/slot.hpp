// slot: code out of line, which runs displaced instructions and calls handlers; and what a thread that is
// found in it looks like to the program.
//
// The port gives (port/slot.hpp): `displaced`, the plan for one instruction, of which neutral code reads
// `how`, `length` and `original`; `slot_layout`, of which it reads `units`; slot_unit, the bytes that slots
// are cut in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include <libprobe/registers.hpp>

#include "arch/insn.hpp"
#include "port/slot.hpp"

namespace libprobe::arch {

// ---- planning: control side

/// Chooses how the instruction at `address` will run once something else covers it. `step`: the user asked
/// for a single step; not given where the program would see it. errc::unsupported_instruction where no method
/// keeps its meaning.
result<displaced> plan(const instruction& what, std::uintptr_t address, bool step) noexcept;
/// True for a control transfer: those are emulated, whatever was asked for.
bool is_branch(const displaced& what) noexcept;

// What follows writes code as it must stand at `slot`, into the front of `code`, which has room for two
// units. Pure: the same arguments always give the same code. errc::out_of_code_memory where that cannot reach
// what it refers to.

/// A displaced instruction's copy, which goes on at `next`.
result<slot_layout> emit(const displaced& plan, std::uintptr_t address, std::uintptr_t slot,
                         std::uintptr_t next, std::span<std::uint8_t> code) noexcept;
/// What a replaced function is called by, as its original: it goes on at `body`, the copy of its first
/// instruction.
result<slot_layout> emit_original(std::uintptr_t slot, std::uintptr_t body,
                                  std::span<std::uint8_t> code) noexcept;

/// Code that a jump leads to. It calls a routine in src/hit, with `about` (a site::detour), and when that
/// returns 0
enum class detour_end : std::uint8_t {
  goes_on,  // at `next`, after libprobe_on_detour() or libprobe_on_detour_after()
  follows,  // at the address in the thread's variable `next` bytes from its base, as if the function had not
            // been called, after libprobe_on_detour_follow()
  returns,  // from the function, after libprobe_on_detour_replace()
};
/// `passed`: how many bytes of the original, at `address`, have run.
result<slot_layout> emit_detour(const void* about, std::uintptr_t address, std::uint8_t passed,
                                detour_end end, std::uintptr_t slot, std::uintptr_t next,
                                std::span<std::uint8_t> code) noexcept;
/// A detour that calls nobody: it counts in the thread's row of a table (see site/counter.hpp), whose place
/// lies `row` bytes from the thread's base, and goes on at `next`; threads that have no row go to
/// `otherwise`. `at_entry`: at a function's first instruction, where nothing below the stack pointer and no
/// condition flag is in use.
result<slot_layout> emit_count(const void* column, std::intptr_t row, bool at_entry, std::uintptr_t otherwise,
                               std::uintptr_t slot, std::uintptr_t next,
                               std::span<std::uint8_t> code) noexcept;

// ---- at a hit: signal-safe

/// Does what the displaced instruction would have done, the instruction pointer included. False: it would
/// have faulted on memory; then nothing has changed, and the fault handlers have seen the signal.
bool emulate(const displaced& plan, std::uintptr_t address, registers& regs) noexcept;

/// Where a slot's code ends in a trap, for handlers behind the instruction; 0: it has no such part.
std::uintptr_t trap_part(const slot_layout& layout, std::uintptr_t slot) noexcept;
std::uintptr_t end_of_trap_part(const slot_layout& layout, std::uintptr_t slot) noexcept;

/// How a thread that was found in libprobe's code goes on, once its registers are what the program would have
/// at its own address.
struct way_back {
  bool before = true;     // the instruction there has not run
  std::uintptr_t ip = 0;  // where in libprobe's code it goes on with those registers,
  std::intptr_t sp = 0;   // and the stack pointer so much higher
};
/// For registers seen inside the slot of an instruction at `address`. Reads the stack, and the slot.
way_back translate(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                   registers& regs) noexcept;
/// The thread goes on there.
void take(const way_back& back, registers& regs) noexcept;
/// True in the code between a detour and the handlers.
bool in_detour_code(std::uintptr_t ip) noexcept;

}  // namespace libprobe::arch

extern "C" {
// In src/hit: called by the code that emit_detour() wrote, in ordinary context. Non-zero: the program goes on
// at regs, instead of the displaced instruction. `vectors`: the extended state as libprobe_on_entry() has it,
// null where it was not saved whole; `saved` says what was (a vector_use).
int libprobe_on_detour(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_after(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_follow(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_replace(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
}
