// Where control goes from an instruction, what may stand before functions, and between them.
#include <algorithm>
#include <iterator>

#include "arch/insn.hpp"
#include "legacy.hpp"

namespace libprobe::arch {

namespace {

bool has_relative_target(const instruction& what) noexcept {
  if (what.encoding != instruction::form::legacy) return false;
  const unsigned op = what.opcode;
  if (what.map == instruction::map_0f) return op >= 0x80 && op <= 0x8f;
  if (what.map != instruction::one_byte) return false;
  return (op >= 0x70 && op <= 0x7f) || (op >= 0xe0 && op <= 0xe3) || op == 0xe8 || op == 0xe9 || op == 0xeb;
}

bool goes_on(const instruction& what) noexcept {
  if (is_legacy(what, instruction::map_0f)) {
    // ud2, ud1, ud0, sysret
    return what.opcode != 0x0b && what.opcode != 0xb9 && what.opcode != 0xff && what.opcode != 0x07;
  }
  if (!is_plain(what)) return true;
  switch (what.opcode) {
    case 0xc2:  // ret
    case 0xc3:
    case 0xca:
    case 0xcb:
    case 0xcf:
    case 0xe9:  // jmp
    case 0xeb:
    case 0xf4:  // hlt
      return false;
    case 0xff:
      return extension(what) != 4 && extension(what) != 5;
    default:
      return true;
  }
}

bool begins_with(std::span<const std::uint8_t> code, std::span<const std::uint8_t> what) noexcept {
  return code.size() >= what.size() && std::equal(what.begin(), what.end(), code.begin());
}

}  // namespace

flow flow_of(const instruction& what, std::uintptr_t address) noexcept {
  const auto behind = address + what.length;
  flow found;
  found.goes_on = goes_on(what);
  found.indirect_jump = is_plain(what) && what.opcode == 0xff && extension(what) == 4;
  if (has_relative_target(what)) found.branch = behind + static_cast<std::uintptr_t>(what.immediate);
  if (is_plain(what) && what.opcode == 0x8d && what.rip_relative)
    found.loads = behind + static_cast<std::uintptr_t>(what.displacement);
  return found;
}

/// Behind a lock prefix, where one thread needs none (libc's catomic_...).
bool may_be_entered_inside(const instruction& what) noexcept { return what.lock; }

bool starts_with_landing_pad(std::span<const std::uint8_t> code) noexcept {
  constexpr std::uint8_t endbr64[landing_pad_length] = {0xf3, 0x0f, 0x1e, 0xfa};
  return begins_with(code, endbr64);
}

bool is_padding(const instruction& what) noexcept {
  if (what.encoding != instruction::form::legacy) return false;
  return (what.map == instruction::one_byte && what.opcode == 0x90) ||
         (what.map == instruction::map_0f && what.opcode == 0x1f);
}

std::uint32_t behind_prologue(std::span<const std::uint8_t> bytes) noexcept {
  constexpr std::uint8_t frame_pointer[] = {0x55, 0x48, 0x89, 0xe5};  // push rbp; mov rbp, rsp
  return begins_with(bytes, frame_pointer) ? 1U << sizeof frame_pointer : 0;
}

}  // namespace libprobe::arch
