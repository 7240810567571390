// A probed instruction's plan (what the hit path reads) and the shape of its code slot.
#pragma once

#include <cstddef>
#include <cstdint>

#include "port/insn.hpp"

namespace libprobe::arch {

/// The plan for one displaced instruction. Immutable once its site is published.
struct displaced {
  enum class method : std::uint8_t {
    emulate,  // its effect is computed in the trap handler; no slot
    copy,     // its relocated copy runs in a slot, which jumps back or traps again
    step,     // its copy runs under the trap flag
  };
  enum class operation : std::uint8_t {
    none,
    nop,
    push_register,
    push_immediate,
    pop_register,
    push_flags,
    pop_flags,
    leave,
    move_register,
    move_immediate,
    load_address,
    add_,
    or_,
    adc_,
    sbb_,
    and_,
    sub_,
    xor_,
    cmp_,
    test_,  // in the order of the ModRM group 1 numbers
    call_relative,
    jump_relative,
    jump_condition,
    loop_not_zero,
    loop_zero,
    loop,
    jump_rcx_zero,
    call_register,
    jump_register,
    call_memory,
    jump_memory,
    ret,
  };
  static constexpr std::uint8_t no_register = 0xff;
  static constexpr std::uint8_t rip_base = 0xfe;

  method how = method::copy;
  operation what = operation::none;
  std::uint8_t width = 0;              // operand bytes: 1, 2, 4, 8
  bool legacy_byte_registers = false;  // no REX: byte registers 4..7 are ah, ch, dh, bh
  bool short_address = false;          // 67: addresses and rcx count in 32 bits
  bool through_fs = false;
  std::uint8_t to = no_register;    // destination
  std::uint8_t from = no_register;  // source; no_register: `value`
  std::uint8_t base = no_register;  // memory operand: base + index * 2^scale + value
  std::uint8_t index = no_register;
  std::uint8_t scale = 0;
  std::uint8_t condition = 0;  // the low four bits of a jcc opcode
  std::uint8_t length = 0;
  std::uint8_t original[max_instruction_length] = {};
  std::int64_t value = 0;  // immediate, displacement, or a direct branch's target
};

inline bool is_branch(const displaced& what) noexcept {
  return what.what >= displaced::operation::call_relative;
}

/// Slots are cut from pages in units; a scratch-register copy takes two.
inline constexpr std::size_t slot_unit = 64;

/// What stands in a slot.
enum class slot_code : std::uint8_t {
  copy,    // an instruction's, twice: part one jumps back, part two ends in a breakpoint
  branch,  // the same for a branch, once
  goes_on,
  follows,
  returns,  // a detour's: see detour_end
  counts,   // a detour's that calls nobody
};

/// Where things lie in a slot.
struct slot_layout {
  slot_code what = slot_code::copy;
  std::uint8_t units = 1;
  std::uint8_t part_two = 0;  // offset; 0: a branch, which has no second part
  std::uint8_t body = 0;      // offset of the relocated instruction inside a part
  std::uint8_t length = 0;    // of the relocated instruction
  std::uint8_t after = 0;     // offset, inside a part, of the code that leaves the slot
  std::uint8_t original_length = 0;
  // Offset at which all is pushed. Of a branch: the return address, 0 if it is no call. Of counting code: the
  // flags, 0 if it leaves them alone.
  std::uint8_t pushed = 0;
  std::uint8_t taken = 0;      // of a branch: offset of the jump to its target, 0 if there is none of its own
  std::uint8_t uncounted = 0;  // of counting code: offset of the way out that has not counted
  std::uint8_t scratch = displaced::no_register;  // saved below the red zone while the body runs
  std::uint8_t entry_return = 0;                  // of a detour: offset at which its handlers have run
};

inline std::uintptr_t trap_part(const slot_layout& layout, std::uintptr_t slot) noexcept {
  return layout.part_two != 0 ? slot + layout.part_two : 0;
}
inline std::uintptr_t end_of_trap_part(const slot_layout& layout, std::uintptr_t slot) noexcept {
  return layout.part_two != 0 ? slot + layout.part_two + layout.after : 0;
}

}  // namespace libprobe::arch
