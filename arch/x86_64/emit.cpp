// Writes the slot of a copied instruction: the relocated copy, twice, once leaving by a jump and once by a
// trap.
#include <algorithm>
#include <cstring>

#include "arch/patch.hpp"
#include "arch/slot.hpp"
#include "code_writer.hpp"
#include "emit_branch.hpp"

namespace libprobe::arch {

namespace {

constexpr std::uint8_t rsi = 6, rdi = 7, rbp = 5, rsp = 4;

/// The register that VEX.vvvv or EVEX.vvvv names; no_register for legacy encodings.
std::uint8_t second_source(const instruction& what) noexcept {
  if (what.encoding == instruction::form::legacy) return displaced::no_register;
  // The byte before the opcode holds it, inverted; EVEX has one more byte in between.
  const std::size_t back = what.encoding == instruction::form::evex ? 2 : 1;
  return (~what.bytes[what.opcode_offset - back] >> 3) & 15U;
}

/// True if ModRM.reg may name a general register: not a vector or x87 register, not a part of the opcode.
/// Intel SDM vol. 2, appendix A.
bool names_general_register(const instruction& what) noexcept {
  const unsigned op = what.opcode;
  const bool converts = op == 0x2c || op == 0x2d || op == 0x78 || op == 0x79;  // cvtss2si and its like
  if (what.encoding != instruction::form::legacy)
    return (what.map >= instruction::map_0f38 && op >= 0xf0) ||
           (what.map != instruction::map_0f38 && converts);
  switch (what.map) {
    case instruction::one_byte:
      return !((op >= 0x80 && op <= 0x83) || op == 0xc0 || op == 0xc1 || op == 0xc6 || op == 0xc7 ||
               (op >= 0xd0 && op <= 0xdf) || op == 0xf6 || op == 0xf7 || op >= 0xfe);
    case instruction::map_0f:
      return converts ||
             !((op >= 0x10 && op <= 0x18) || (op >= 0x28 && op <= 0x2f) || (op >= 0x51 && op <= 0x7f) ||
               op == 0xba || op == 0xc2 || op == 0xc4 || op == 0xc6 || (op >= 0xd0 && op <= 0xfe));
    default:
      return what.map == instruction::map_0f38 && op >= 0xf0;
  }
}

/// A register that stands in for rip as the operand's base. None of them is an implicit operand of an
/// instruction that also has a memory operand, and at most two can be named by one instruction.
std::uint8_t scratch_register(const instruction& what) noexcept {
  const bool legacy = what.encoding == instruction::form::legacy;
  // rsp is moved while the copy runs: what reads or writes it cannot be bridged.
  if (legacy && what.map == instruction::one_byte) {
    const unsigned group = (what.modrm >> 3) & 7U;
    if (what.opcode == 0x8f || (what.opcode == 0xff && group == 6))
      return displaced::no_register;  // pop, push
  }
  if (names_general_register(what) && (what.reg() == rsp || second_source(what) == rsp))
    return displaced::no_register;
  for (const auto candidate : {rsi, rdi, rbp}) {
    if (candidate != what.reg() && candidate != second_source(what)) return candidate;
  }
  return displaced::no_register;
}

/// The instruction with [rip + disp32] turned into [scratch + 0], same length. Intel SDM vol. 2, 2.2.1.6.
void rebase(const instruction& what, std::uint8_t scratch, std::uint8_t* bytes) noexcept {
  std::memcpy(bytes, what.bytes, what.length);
  bytes[what.modrm_offset] =
      static_cast<std::uint8_t>(0x80 | (what.modrm & 0x38) | scratch);  // mod 2: disp32
  std::memset(bytes + what.displacement_offset, 0, 4);
  // [rip] ignores the B bit of the prefix; [scratch] would not.
  if (what.encoding == instruction::form::legacy) {
    if (what.rex != 0) bytes[what.opcode_offset - (what.map == 0 ? 1 : what.map == 1 ? 2 : 3)] &= 0xfe;
  } else if (what.bytes[what.opcode_offset - 2] == 0xc5 && what.opcode_offset >= 2 &&
             what.encoding == instruction::form::vex) {
    // the two-byte VEX prefix has no B
  } else {
    const std::size_t first = what.opcode_offset - (what.encoding == instruction::form::evex ? 3U : 2U);
    bytes[first] |= 0x20;  // stored inverted
  }
}

struct copy {
  const instruction& what;
  std::uintptr_t address;  // the original's
  std::uintptr_t operand;  // what a rip-relative operand refers to
  std::uint8_t scratch;

  /// One relocated copy. Returns where in the part its body starts.
  std::uint8_t append(code_writer& out) const noexcept {
    if (scratch != displaced::no_register) {
      out.bytes({0x48, 0x8d, 0x64, 0x24, 0x80});  // lea -128(%rsp), %rsp: flags stay
      out.bytes({static_cast<std::uint8_t>(0x50 | scratch)});
      out.bytes({0x48, static_cast<std::uint8_t>(0xb8 | scratch)});
      out.word(static_cast<std::uint64_t>(operand));
      const auto body = out.offset();
      std::uint8_t bytes[max_instruction_length];
      rebase(what, scratch, bytes);
      out.bytes(bytes, what.length);
      out.bytes({static_cast<std::uint8_t>(0x58 | scratch)});
      out.bytes({0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0});  // lea 128(%rsp), %rsp
      return body;
    }
    const auto body = out.offset();
    std::uint8_t bytes[max_instruction_length];
    std::memcpy(bytes, what.bytes, what.length);
    if (what.rip_relative) {
      const auto displacement = static_cast<std::int32_t>(operand - (out.address() + what.length));
      std::memcpy(bytes + what.displacement_offset, &displacement, sizeof displacement);
    }
    out.bytes(bytes, what.length);
    if (is_system_call()) {
      out.bytes({0x48, 0xb9});  // syscall leaves its own next address in rcx
      out.word(static_cast<std::uint64_t>(address + what.length));
    }
    return body;
  }
  [[nodiscard]] bool is_system_call() const noexcept {
    return what.encoding == instruction::form::legacy && what.map == instruction::map_0f &&
           what.opcode == 0x05;
  }
};

}  // namespace

result<slot_layout> emit(const displaced& plan, std::uintptr_t address, std::uintptr_t slot,
                         std::uintptr_t next, std::span<std::uint8_t> code) noexcept {
  if (needs_rewriting(plan)) return emit_branch(plan, address, slot, next, code);
  const auto parts = split({plan.original, plan.length});
  if (!parts) return parts.error();
  const instruction& what = *parts;
  slot_layout layout;
  layout.original_length = what.length;
  layout.length = what.length;

  const std::uintptr_t operand = address + what.length + static_cast<std::uintptr_t>(what.displacement);
  const bool near =
      fits(static_cast<std::int64_t>(operand - slot) - static_cast<std::int64_t>(2 * slot_unit)) &&
      fits(static_cast<std::int64_t>(operand - slot));
  if (what.rip_relative && !near) {
    layout.scratch = scratch_register(what);
    if (layout.scratch == displaced::no_register) return errc::out_of_code_memory;
    layout.units = 2;
  }
  layout.part_two = static_cast<std::uint8_t>(layout.units == 1 ? slot_unit / 2 : slot_unit);

  const copy relocated{what, address, operand, layout.scratch};
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, slot};
  layout.body = relocated.append(out);
  layout.after = out.offset();
  out.jump(next);
  out.skip_to(layout.part_two);
  relocated.append(out);
  out.bytes({breakpoint_bytes[0]});
  return layout;
}

}  // namespace libprobe::arch
