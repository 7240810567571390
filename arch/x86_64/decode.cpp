// Which of the encodings that split() takes apart are instructions.
//
// The legacy maps are answered from tables: that costs a few nanoseconds where Capstone takes some hundred,
// and it is stricter. Capstone 4.0.2 lets f2 and f3 pass before SSE instructions that have no such form (the
// CPU raises #UD), cuts ud0 and ud1 short of their ModRM, and knows none of CET, Key Locker, MOVDIR, WAITPKG
// and the like. It is asked about the rest: x87, VEX, XOP and 3DNow!.
#include <capstone/capstone.h>

#include <algorithm>
#include <span>

#include "arch/insn.hpp"
#include "opcode_tables.hpp"

namespace libprobe::arch {
namespace {

namespace tables = opcode_tables;

class capstone_decoder {
 public:
  enum class answer { unknown, agrees, disagrees };

  capstone_decoder() noexcept {
    if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle_) == CS_ERR_OK) insn_ = cs_malloc(handle_);
  }
  ~capstone_decoder() {
    if (insn_ != nullptr) cs_free(insn_, 1);
    if (handle_ != 0) cs_close(&handle_);
    insn_ = nullptr;
  }
  capstone_decoder(const capstone_decoder&) = delete;
  capstone_decoder& operator=(const capstone_decoder&) = delete;

  // False if memory was short, and in the last moments of a thread.
  [[nodiscard]] bool usable() const noexcept { return insn_ != nullptr; }

  answer ask(const instruction& about) noexcept {
    const std::uint8_t* code = about.bytes;
    std::size_t size = about.length;
    std::uint64_t address = 0;
    if (!cs_disasm_iter(handle_, &code, &size, &address, insn_)) return answer::unknown;
    return size == 0 ? answer::agrees : answer::disagrees;
  }

 private:
  csh handle_ = 0;
  cs_insn* insn_ = nullptr;
};

thread_local capstone_decoder capstone;

bool names_memory(const instruction& insn) noexcept { return insn.has_modrm && insn.mod() != 3; }

unsigned extension(const instruction& insn) noexcept { return (insn.modrm >> 3) & 7; }

// The bit of the mandatory prefix in the tables: f2 and f3 take precedence over 66 (SDM vol. 2, 2.1.2 and
// A.2.1).
std::uint8_t mandatory_prefix(const instruction& insn) noexcept {
  if (insn.repne) return 8;
  if (insn.rep) return 4;
  return insn.operand_size ? 2 : 1;
}

// SDM vol. 2, LOCK: #UD except before these, with a memory destination.
bool may_be_locked(const instruction& insn) noexcept {
  if (!names_memory(insn)) return false;
  const unsigned reg = extension(insn);
  if (insn.map == instruction::one_byte) {
    switch (insn.opcode) {
      case 0x80:
      case 0x81:
      case 0x83:
        return reg != 7;  // not cmp
      case 0x86:
      case 0x87:
        return true;  // xchg
      case 0xf6:
      case 0xf7:
        return reg == 2 || reg == 3;  // not, neg
      case 0xfe:
      case 0xff:
        return reg <= 1;  // inc, dec
      default:
        return insn.opcode < 0x38 && (insn.opcode & 7) <= 1;  // add..xor to memory
    }
  }
  if (insn.map != instruction::map_0f) return false;
  switch (insn.opcode) {
    case 0xab:  // bts
    case 0xb0:  // cmpxchg
    case 0xb1:
    case 0xb3:  // btr
    case 0xbb:  // btc
    case 0xc0:  // xadd
    case 0xc1:
      return true;
    case 0xba:
      return reg >= 5;  // bts, btr, btc
    case 0xc7:
      return reg == 1;  // cmpxchg8b, cmpxchg16b
    default:
      return false;
  }
}

bool in_tables(const instruction& insn, const tables::existence& exists,
               std::span<const tables::group> groups) noexcept {
  const bool memory = names_memory(insn);
  std::uint8_t forms = memory ? exists.memory(insn.opcode) : exists.registers(insn.opcode);
  if (exists.of[insn.opcode] == 0) {
    const auto group = std::ranges::find(groups, insn.opcode, &tables::group::opcode);
    if (group == groups.end()) return false;
    forms = (memory ? group->memory : group->registers)[extension(insn)];
  }
  return (forms & mandatory_prefix(insn)) != 0;
}

bool exists_one_byte(const instruction& insn) noexcept {
  const bool xabort_or_xbegin = (insn.opcode == 0xc6 || insn.opcode == 0xc7) && extension(insn) == 7;
  if (xabort_or_xbegin && insn.modrm != 0xf8) return false;
  return in_tables(insn, tables::one_byte_exists, tables::one_byte_groups);
}

bool exists_map_0f(const instruction& insn) noexcept {
  switch (insn.opcode) {
    case 0x01:
      if (insn.mod() != 3 || extension(insn) == 4 || extension(insn) == 6) break;
      return (tables::group_7_registers.of[insn.modrm & 0x3f] & mandatory_prefix(insn)) != 0;
    case 0x20:
    case 0x22:  // CR8 is the last; which of those below exist is in the table
      if (insn.reg() > 8) return false;
      break;
    case 0x21:
    case 0x23:  // DR7 is the last
      if (insn.reg() > 7) return false;
      break;
    case 0xa6:
    case 0xa7:  // PadLock has no operands: ModRM.rm is part of the opcode
      if ((insn.modrm & 7) != 0) return false;
      break;
    default:
      break;
  }
  return in_tables(insn, tables::map_0f_exists, tables::map_0f_groups);
}

bool exists_legacy(const instruction& insn) noexcept {
  switch (insn.map) {
    case instruction::one_byte:
      return exists_one_byte(insn);
    case instruction::map_0f:
      return exists_map_0f(insn);
    case instruction::map_0f38:
      return in_tables(insn, tables::map_0f38_exists, tables::map_0f38_groups);
    default:
      if (insn.opcode == 0xf0 && insn.modrm != 0xc0) return false;  // hreset: its ModRM is part of the opcode
      return in_tables(insn, tables::map_0f3a_exists, {});
  }
}

// SDM vol. 2, 2.7.11: what raises #UD whatever the opcode. AVX-512 grows faster than any table of its
// opcodes, and its lengths follow from the map alone, so no opcode is refused.
bool evex_is_consistent(const instruction& insn) noexcept {
  const std::uint8_t p2 = insn.bytes[insn.opcode_offset - 1];
  const bool zeroing = (p2 & 0x80) != 0;
  const bool reserved_length = (p2 & 0x60) == 0x60;
  const bool broadcast_or_rounding = (p2 & 0x10) != 0;
  const bool mask = (p2 & 0x07) != 0;
  if (zeroing && !mask) return false;
  return !reserved_length || (broadcast_or_rounding && !names_memory(insn));  // L'L is the rounding mode then
}

bool newer_than_capstone(const instruction& insn) noexcept {
  if (insn.encoding != instruction::form::vex) return false;
  const unsigned pp = insn.bytes[insn.opcode_offset - 1] & 3;
  return std::ranges::any_of(tables::newer_vex, [&](const tables::vex_range& range) {
    const unsigned forms = names_memory(insn) ? range.memory : range.registers;
    return insn.map == range.map && insn.opcode >= range.first && insn.opcode <= range.last &&
           (forms >> pp & 1) != 0;
  });
}

bool is_x87(const instruction& insn) noexcept {
  return insn.map == instruction::one_byte && insn.opcode >= 0xd8 && insn.opcode <= 0xdf;
}

}  // namespace

result<instruction> decode(std::span<const std::uint8_t> bytes) noexcept {
  result<instruction> split_up = split(bytes);
  if (!split_up) return split_up;
  const instruction& insn = *split_up;
  if (insn.lock && !may_be_locked(insn)) return errc::undecodable_instruction;

  bool exists = false;
  if (insn.encoding == instruction::form::evex) {
    exists = evex_is_consistent(insn);
  } else if (insn.encoding == instruction::form::legacy && insn.map != instruction::map_3dnow &&
             !is_x87(insn)) {
    exists = exists_legacy(insn);
  } else {
    if (!capstone.usable()) return errc::out_of_memory;
    const auto answer = capstone.ask(insn);
    exists = answer == capstone_decoder::answer::agrees ||
             (answer == capstone_decoder::answer::unknown && newer_than_capstone(insn));
  }
  if (!exists) return errc::undecodable_instruction;
  return split_up;
}

}  // namespace libprobe::arch
