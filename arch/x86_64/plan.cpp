// Chooses how a displaced instruction will run. The rules follow the Intel SDM, volume 2, for 64-bit mode.
#include <cstring>

#include "arch/slot.hpp"

namespace libprobe::arch {

namespace {

using method = displaced::method;
using operation = displaced::operation;

std::uint8_t operand_width(const instruction& what, bool byte) noexcept {
  if (byte) return 1;
  if (what.rex_w()) return 8;
  return what.operand_size ? 2 : 4;
}

std::uint8_t narrow(unsigned value) noexcept { return static_cast<std::uint8_t>(value); }

/// The register in the opcode's low three bits.
std::uint8_t opcode_register(const instruction& what) noexcept {
  return narrow((what.opcode & 7U) | ((what.rex & 1U) != 0 ? 8U : 0U));
}

/// Of a branch with a relative operand.
std::int64_t relative_target(const instruction& what, std::uintptr_t address) noexcept {
  return static_cast<std::int64_t>(address) + what.length + what.immediate;
}

/// base + index * scale + displacement; a rip-relative one is an absolute address already.
void set_memory_operand(displaced& plan, const instruction& what, std::uintptr_t address) noexcept {
  plan.value = what.displacement;
  plan.short_address = what.address_size;
  plan.through_fs = what.segment == 0x64;
  if (what.rip_relative) {
    plan.value += static_cast<std::int64_t>(address) + what.length;
  } else if (what.has_sib) {
    const unsigned index = ((what.sib >> 3) & 7U) | ((what.rex & 2U) != 0 ? 8U : 0U);
    if (index != 4) {
      plan.index = narrow(index);
      plan.scale = narrow(what.sib >> 6);
    }
    if ((what.sib & 7U) != 5 || what.mod() != 0)
      plan.base = narrow((what.sib & 7U) | ((what.rex & 1U) != 0 ? 8U : 0U));
  } else {
    plan.base = narrow(what.rm());
  }
}

/// Register and immediate forms of mov and the arithmetic group. False: not one of them.
bool plan_arithmetic(displaced& plan, const instruction& what) noexcept {
  const unsigned opcode = what.opcode;
  const bool byte = (opcode & 1) == 0;
  const bool registers_only = what.has_modrm && what.mod() == 3;
  if (what.lock || what.rep || what.repne) return false;
  const auto arithmetic = [](unsigned group) {
    return static_cast<operation>(static_cast<unsigned>(operation::add_) + group);
  };
  const auto between = [&](operation op, bool reversed) {  // r/m and reg; reversed: reg is the destination
    plan.what = op;
    plan.width = operand_width(what, byte);
    plan.to = narrow(reversed ? what.reg() : what.rm());
    plan.from = narrow(reversed ? what.rm() : what.reg());
  };
  const auto with_immediate = [&](operation op, unsigned to, bool bytes) {
    plan.what = op;
    plan.width = operand_width(what, bytes);
    plan.to = narrow(to);
    plan.value = what.immediate;
  };
  plan.legacy_byte_registers = what.rex == 0;

  if (opcode < 0x40 && (opcode & 7) < 6) {
    if ((opcode & 7) >= 4) {
      with_immediate(arithmetic(opcode >> 3), 0, byte);
    } else if (registers_only) {
      between(arithmetic(opcode >> 3), (opcode & 2) != 0);
    }
  } else if (opcode == 0x80 || opcode == 0x81 || opcode == 0x83) {
    if (registers_only) with_immediate(arithmetic((what.modrm >> 3) & 7U), what.rm(), byte);
  } else if (opcode == 0x84 || opcode == 0x85) {
    if (registers_only) between(operation::test_, false);
  } else if (opcode == 0xa8 || opcode == 0xa9) {
    with_immediate(operation::test_, 0, byte);
  } else if (opcode == 0xf6 || opcode == 0xf7) {
    if (registers_only && ((what.modrm >> 3) & 7U) == 0) with_immediate(operation::test_, what.rm(), byte);
  } else if (opcode >= 0x88 && opcode <= 0x8b) {
    if (registers_only) between(operation::move_register, (opcode & 2) != 0);
  } else if (opcode >= 0xb0 && opcode <= 0xbf) {
    with_immediate(operation::move_immediate, opcode_register(what), opcode < 0xb8);
  } else if (opcode == 0xc6 || opcode == 0xc7) {
    if (registers_only && ((what.modrm >> 3) & 7U) == 0)
      with_immediate(operation::move_immediate, what.rm(), byte);
  }
  return plan.what != operation::none;
}

/// push, pop, leave, the flags. False: not one of them.
bool plan_stack(displaced& plan, const instruction& what) noexcept {
  const unsigned opcode = what.opcode;
  if (what.operand_size || what.lock) return false;  // two-byte pushes are copied
  if (opcode >= 0x50 && opcode <= 0x57) {
    plan.what = operation::push_register;
    plan.from = opcode_register(what);
  } else if (opcode >= 0x58 && opcode <= 0x5f) {
    plan.what = operation::pop_register;
    plan.to = opcode_register(what);
  } else if (opcode == 0x68 || opcode == 0x6a) {
    plan.what = operation::push_immediate;
    plan.value = what.immediate;
  } else if (opcode == 0x9c) {
    plan.what = operation::push_flags;
  } else if (opcode == 0x9d) {
    plan.what = operation::pop_flags;
  } else if (opcode == 0xc9) {
    plan.what = operation::leave;
  }
  return plan.what != operation::none;
}

bool is_nop(const instruction& what) noexcept {
  if (what.encoding != instruction::form::legacy || what.lock) return false;
  if (what.map == instruction::one_byte) return what.opcode == 0x90 && (what.rex & 1U) == 0;
  if (what.map != instruction::map_0f) return false;
  // 0f 1f never touches its operand; endbr64 and endbr32 are f3 0f 1e fa/fb.
  return what.opcode == 0x1f ||
         (what.opcode == 0x1e && what.rep && (what.modrm == 0xfa || what.modrm == 0xfb));
}

/// Control transfers. All of them are emulated, so nothing that leaves a slot ever runs in one. False: not
/// one.
bool plan_branch(displaced& plan, const instruction& what, std::uintptr_t address) noexcept {
  const unsigned opcode = what.opcode;
  if (what.map == instruction::map_0f) {
    if (opcode < 0x80 || opcode > 0x8f) return false;
    plan.what = operation::jump_condition;
  } else if (opcode >= 0x70 && opcode <= 0x7f) {
    plan.what = operation::jump_condition;
  } else if (opcode >= 0xe0 && opcode <= 0xe3) {
    constexpr operation loops[] = {operation::loop_not_zero, operation::loop_zero, operation::loop,
                                   operation::jump_rcx_zero};
    plan.what = loops[opcode - 0xe0];
    plan.short_address = what.address_size;
  } else if (opcode == 0xe8) {
    plan.what = operation::call_relative;
  } else if (opcode == 0xe9 || opcode == 0xeb) {
    plan.what = operation::jump_relative;
  } else if (opcode == 0xc2 || opcode == 0xc3) {
    plan.what = operation::ret;
    plan.value = opcode == 0xc2 ? what.immediate & 0xffff : 0;
    return true;
  } else if (opcode == 0xff && (((what.modrm >> 3) & 7U) == 2 || ((what.modrm >> 3) & 7U) == 4)) {
    const bool call = ((what.modrm >> 3) & 7U) == 2;
    if (what.mod() == 3) {
      plan.what = call ? operation::call_register : operation::jump_register;
      plan.from = narrow(what.rm());
    } else {
      plan.what = call ? operation::call_memory : operation::jump_memory;
      set_memory_operand(plan, what, address);
    }
    return true;
  } else {
    return false;
  }
  plan.condition = opcode & 15U;
  plan.value = relative_target(what, address);
  return true;
}

/// Instructions that cannot be displaced by any method.
bool is_refused(const instruction& what) noexcept {
  if (what.rip_relative && what.address_size) return true;  // eip-relative: no copy elsewhere means the same
  if (what.encoding != instruction::form::legacy) return false;
  const unsigned group = (what.modrm >> 3) & 7U;
  if (what.map == instruction::map_0f) {
    // sysret, sysenter, sysexit, lss
    return what.opcode == 0x07 || what.opcode == 0x34 || what.opcode == 0x35 || what.opcode == 0xb2;
  }
  if (what.map != instruction::one_byte) return false;
  switch (what.opcode) {
    case 0x8e:
      return group == 2;  // mov to ss holds traps back for one instruction
    case 0xc7:
      return what.modrm == 0xf8;  // xbegin: its abort target is relative, and a trap aborts
    case 0xca:
    case 0xcb:
    case 0xcf:  // far returns, iret
    case 0xcc:
    case 0xf1:  // int3, int1: somebody else's breakpoint
      return true;
    case 0xcd:
      return what.immediate != static_cast<std::int8_t>(0x80);
    case 0xff:
      return group == 3 || group == 5 || group == 7;  // far call, far jmp
    default:
      return false;
  }
}

/// pushf and syscall (in r11) hand the flags to the program, the trap flag included.
bool shows_trap_flag(const instruction& what) noexcept {
  return what.encoding == instruction::form::legacy &&
         ((what.map == instruction::one_byte && what.opcode == 0x9c) ||
          (what.map == instruction::map_0f && what.opcode == 0x05));
}

}  // namespace

result<displaced> plan(const instruction& what, std::uintptr_t address, bool step) noexcept {
  if (is_refused(what)) return errc::unsupported_instruction;
  displaced plan;
  plan.length = what.length;
  std::memcpy(plan.original, what.bytes, what.length);

  if (what.encoding == instruction::form::legacy &&
      (what.map == instruction::one_byte || what.map == instruction::map_0f) && !what.lock &&
      plan_branch(plan, what, address)) {
    // Intel ignores a 66 before a near branch, AMD truncates the target; gs has no base that can be read.
    if (what.operand_size && !what.rex_w()) return errc::unsupported_instruction;
    if (what.segment == 0x65 &&
        (plan.what == operation::call_memory || plan.what == operation::jump_memory)) {
      return errc::unsupported_instruction;
    }
    plan.how = method::emulate;
    return plan;
  }
  if (step && !shows_trap_flag(what)) {
    plan.how = method::step;
    return plan;
  }
  if (is_nop(what)) {
    plan.what = operation::nop;
  } else if (what.encoding == instruction::form::legacy && what.map == instruction::one_byte) {
    if (what.opcode == 0x8d && what.mod() != 3 && !what.lock) {
      plan.what = operation::load_address;
      plan.width = operand_width(what, false);
      plan.to = narrow(what.reg());
      set_memory_operand(plan, what, address);
    } else if (!plan_stack(plan, what)) {
      plan_arithmetic(plan, what);
    }
  }
  plan.how = plan.what == operation::none ? method::copy : method::emulate;
  return plan;
}

}  // namespace libprobe::arch
