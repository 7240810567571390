// Data that code keeps beside itself: the tables by which a switch jumps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "instruction.hpp"

namespace libprobe::arch {

/// An instruction at its address.
struct placed_instruction {
  std::uintptr_t address = 0;
  instruction what{};
};

/// False behind an instruction that goes on elsewhere, if it goes on at all.
bool goes_on(const instruction& what) noexcept;
/// True for a jump to what a register or memory holds.
bool is_indirect_jump(const instruction& what) noexcept;
/// True for lea with an address of its own for operand; `target` is that.
bool is_address_load(const instruction& what, std::uintptr_t address, std::uintptr_t& target) noexcept;

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

}  // namespace libprobe::arch
