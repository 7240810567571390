// insn: what an instruction is, and where control may go.
//
// The port gives (port/insn.hpp): `instruction`, decoded, of which neutral code reads the `length` alone;
// max_instruction_length; landing_pad_length, 0 where the CPU has no landing pads; `branch_targets`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "os/result.hpp"
#include "port/insn.hpp"

namespace libprobe::arch {

// Control side, any thread; allocate nothing where not said otherwise.

/// Splits the bytes by the encoding rules alone; whether such an instruction exists is not asked.
/// errc::undecodable_instruction when they end too early or no rule gives a length.
result<instruction> split(std::span<const std::uint8_t> bytes) noexcept;
/// split(), and the instruction exists. Allocates on first use per thread.
result<instruction> decode(std::span<const std::uint8_t> bytes) noexcept;

/// Where control goes from an instruction, and what addresses it tells.
struct flow {
  bool goes_on = true;                   // to the next instruction, perhaps
  bool indirect_jump = false;            // to what a register or memory holds
  std::optional<std::uintptr_t> branch;  // with a distance in the instruction: to there
  std::optional<std::uintptr_t> loads;   // an address of its own surroundings, into a register
};
flow flow_of(const instruction& what, std::uintptr_t address) noexcept;

/// What compilers put between functions.
bool is_padding(const instruction& what) noexcept;
/// Branches may lead into its middle: behind a prefix, say.
bool may_be_entered_inside(const instruction& what) noexcept;

/// What may stand before a function's first instruction proper, landing_pad_length bytes long.
bool starts_with_landing_pad(std::span<const std::uint8_t> code) noexcept;
/// Bit n: a debugger that is told to stop in a function which begins with these bytes stops n bytes behind
/// its address. 0 where that depends on more than its first bytes.
std::uint32_t behind_prologue(std::span<const std::uint8_t> bytes) noexcept;

// ---- data among code: the tables by which a switch jumps

/// An instruction at its address.
struct placed_instruction {
  std::uintptr_t address = 0;
  instruction what{};
};
/// Whether a function that begins at `address` may hold a table of its own: jumps indirectly, and somewhere
/// names a place inside of itself. Looks at bytes alone, and says yes too often.
bool may_hold_tables(std::span<const std::uint8_t> function, std::uintptr_t address) noexcept;

/// A table that an indirect jump uses, as its last instructions tell.
struct jump_table {
  std::uintptr_t start = 0;
  std::uint8_t entry_size = 0;
  bool relative = false;    // distances from the table's start, else addresses
  std::size_t most = 4096;  // entries
};
/// `trail`: the instructions before the jump, one behind the other, and the jump. `loads`: what the function
/// loads addresses by, where the trail does not tell.
std::optional<jump_table> table_of(std::span<const placed_instruction> trail,
                                   std::span<const placed_instruction> loads) noexcept;
/// Where an entry leads.
std::uintptr_t table_target(const jump_table& table, std::span<const std::uint8_t> entry) noexcept;
/// True if these bytes of the instruction are one of its operands: a relocation there makes no data of it.
bool is_operand(const instruction& what, std::size_t offset, std::size_t size) noexcept;

// ---- system calls

/// A system-call instruction in a function's code.
struct system_call_place {
  std::size_t offset = 0;
  long number = -1;  // -1: made with a number that the code does not tell
};
/// All in the code of a function, from its first instruction on. Allocates.
std::vector<system_call_place> system_calls_in(std::span<const std::uint8_t> function);
/// Where a system-call instruction may stand in code, boundaries not known: the first from `from` on; the
/// code's size if there is none.
std::size_t next_system_call(std::span<const std::uint8_t> code, std::size_t from) noexcept;

}  // namespace libprobe::arch
