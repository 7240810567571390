#include "emit_branch.hpp"

#include <algorithm>

#include "arch/patch.hpp"
#include "arch/slot.hpp"
#include "code_writer.hpp"

namespace libprobe::arch {

namespace {

using operation = displaced::operation;

constexpr std::uint8_t rsp = 4;

std::uint8_t byte(unsigned value) noexcept { return static_cast<std::uint8_t>(value); }

/// Flags and registers stay as they are.
void push_word(code_writer& out, std::uint64_t value) noexcept {
  out.bytes({0x68});  // push imm32, sign-extended
  out.word(static_cast<std::uint32_t>(value));
  out.bytes({0xc7, 0x44, 0x24, 0x04});  // movl imm32, 4(%rsp)
  out.word(static_cast<std::uint32_t>(value >> 32));
}

/// What code_writer::jump() writes where a rel32 does not reach: for a short branch over it.
constexpr std::uint8_t longest_jump = 14;

/// Returns where the jump to the target stands, 0 if the branch itself leads there.
std::uint8_t conditional_jump(code_writer& out, const displaced& what, std::uintptr_t target) noexcept {
  const auto distance = static_cast<std::int64_t>(target - (out.address() + 6));
  if (fits(distance)) {
    out.bytes({0x0f, byte(0x80U | what.condition)});
    out.word(static_cast<std::int32_t>(distance));
    return 0;
  }
  out.bytes({byte(0x70U | (what.condition ^ 1U)), longest_jump});
  const auto taken = out.offset();
  out.jump(target);
  return taken;
}

std::uint8_t loop(code_writer& out, const displaced& what, std::uintptr_t target,
                  std::uintptr_t next) noexcept {
  if (what.short_address) out.bytes({0x67});
  const auto opcode =
      byte(0xe0U + (static_cast<unsigned>(what.what) - static_cast<unsigned>(operation::loop_not_zero)));
  const auto at = out.offset();
  out.bytes({opcode, 0});
  out.jump(next);
  const auto taken = out.offset();
  out.patch(at + 1U, byte(taken - at - 2U));
  out.jump(target);
  return taken;
}

/// jmp through the memory operand, whose base rsp has moved by the return address that was pushed.
errc jump_memory(code_writer& out, const displaced& what) noexcept {
  auto displacement = what.value;
  const bool absolute = what.base == displaced::no_register && what.index == displaced::no_register;
  if (what.base == rsp) displacement += static_cast<std::int64_t>(sizeof(std::uint64_t));
  if (what.through_fs) out.bytes({0x64});
  if (what.short_address) out.bytes({0x67});
  if (absolute && !what.through_fs && !what.short_address) {
    const auto distance = displacement - static_cast<std::int64_t>(out.address() + 6);
    if (fits(distance)) {
      out.bytes({0xff, 0x25});  // jmp *distance(%rip)
      out.word(static_cast<std::int32_t>(distance));
      return errc::ok;
    }
  }
  if (!fits(displacement)) return errc::out_of_code_memory;
  const unsigned base = what.base == displaced::no_register ? 5U : what.base;
  const unsigned index = what.index == displaced::no_register ? 4U : what.index;
  const unsigned rex = (base >= 8 ? 1U : 0U) | (index >= 8 ? 2U : 0U);
  if (rex != 0) out.bytes({byte(0x40U | rex)});
  // With mod 0 a base of 5 means none; mod 2 otherwise: always a 32-bit displacement.
  const unsigned mod = what.base == displaced::no_register ? 0U : 2U;
  out.bytes({0xff, byte((mod << 6) | (4U << 3) | 4U),
             byte((unsigned{what.scale} << 6) | ((index & 7U) << 3) | (base & 7U))});
  out.word(static_cast<std::int32_t>(displacement));
  return errc::ok;
}

}  // namespace

bool needs_rewriting(const displaced& what) noexcept {
  switch (what.what) {
    case operation::call_relative:
    case operation::jump_relative:
    case operation::jump_condition:
    case operation::loop_not_zero:
    case operation::loop_zero:
    case operation::loop:
    case operation::jump_rcx_zero:
    case operation::call_register:
    case operation::call_memory:
      return true;
    default:
      return false;
  }
}

result<slot_layout> emit_branch(const displaced& what, std::uintptr_t address, std::uintptr_t slot,
                                std::uintptr_t next, std::span<std::uint8_t> code) noexcept {
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, slot};
  slot_layout layout;
  layout.what = slot_code::branch;
  layout.original_length = what.length;
  const auto target = static_cast<std::uintptr_t>(what.value);
  const bool call = what.what == operation::call_relative || what.what == operation::call_register ||
                    what.what == operation::call_memory;
  if (call) {
    if (what.from == rsp) return errc::unsupported_instruction;
    push_word(out, address + what.length);
    layout.pushed = 5;
  }
  switch (what.what) {
    case operation::call_relative:
    case operation::jump_relative:
      out.jump(target);
      break;
    case operation::jump_condition:
      layout.taken = conditional_jump(out, what, target);
      out.jump(next);
      break;
    case operation::call_register:
      if (what.from >= 8) out.bytes({0x41});
      out.bytes({0xff, byte(0xe0U | (what.from & 7U))});
      break;
    case operation::call_memory:
      if (const auto why = jump_memory(out, what); why != errc::ok) return why;
      break;
    default:
      layout.taken = loop(out, what, target, next);
      break;
  }
  layout.length = out.offset();
  layout.after = out.offset();
  return layout;
}

}  // namespace libprobe::arch
