// Where the parts of an instruction lie (Intel SDM vol. 2, chapter 2; XOP and 3DNow!: AMD APM vol. 3, chapter
// 1).
#include <algorithm>
#include <cstring>

#include "arch/insn.hpp"
#include "opcode_tables.hpp"

namespace libprobe::arch {
namespace {

constexpr std::uint8_t sib_follows = 4;  // ModRM.rm, mod other than 3
constexpr std::uint8_t no_base = 5;      // ModRM.rm or SIB.base with mod 0: disp32 instead of a register
constexpr std::uint8_t direct = 3;       // ModRM.mod: the operand is a register

std::int64_t little_endian(const std::uint8_t* from, unsigned size) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, from, size);
  const unsigned unused = 64 - 8 * size;
  return static_cast<std::int64_t>(value << unused) >> unused;
}

// Reads forward through the bytes of one instruction. Every step says whether the bytes sufficed.
class splitter {
 public:
  splitter(std::span<const std::uint8_t> bytes, instruction& insn) noexcept
      : from_{bytes.data()},
        end_{static_cast<std::uint8_t>(std::min(bytes.size(), max_instruction_length))},
        insn_{insn} {}

  bool run() noexcept {
    if (!prefixes() || !opcode() || !operands()) return false;
    insn_.length = at_;
    std::memcpy(insn_.bytes, from_, at_);
    return true;
  }

 private:
  [[nodiscard]] bool has(unsigned count) const noexcept { return at_ + count <= end_; }

  bool prefixes() noexcept {
    for (; has(1); ++at_) {
      const std::uint8_t byte = from_[at_];
      switch (opcode_tables::one_byte[byte]) {
        case 'p':
          insn_.rex = 0;  // SDM 2.2.1: a REX prefix that is not right before the opcode is ignored
          legacy_prefix(byte);
          break;
        case 'r':
          insn_.rex = byte;
          break;
        default:
          return true;
      }
    }
    return false;
  }

  void legacy_prefix(std::uint8_t byte) noexcept {
    switch (byte) {
      case 0x66:
        insn_.operand_size = true;
        break;
      case 0x67:
        insn_.address_size = true;
        break;
      case 0xf0:
        insn_.lock = true;
        break;
      case 0xf2:
        insn_.repne = true;
        insn_.rep = false;
        break;
      case 0xf3:
        insn_.rep = true;
        insn_.repne = false;
        break;
      default:
        insn_.segment = byte;
        break;
    }
  }

  bool opcode() noexcept {
    const std::uint8_t byte = from_[at_];
    switch (byte) {
      case 0x0f:
        return escape();
      case 0x62:
        return evex();
      case 0xc4:
      case 0xc5:
        return vex(byte);
      case 0x8f:
        // pop is 8f /0, whose second byte has 0..7 where XOP has its map, 8 and up.
        if (!has(2)) return false;
        if ((from_[at_ + 1] & 0x1f) >= 8) return xop();
        break;
      default:
        break;
    }
    return take_opcode(instruction::one_byte, opcode_tables::one_byte[byte]);
  }

  bool escape() noexcept {
    ++at_;
    if (!has(1)) return false;
    switch (from_[at_]) {
      case 0x0f:
        // The opcode proper stands behind the operands, where others have an immediate.
        ++at_;
        insn_.map = instruction::map_3dnow;
        layout_ = 'm';
        return true;
      case 0x38:
        ++at_;
        return take_opcode(instruction::map_0f38, 'm');
      case 0x3a:
        ++at_;
        return take_opcode(instruction::map_0f3a, 'B');
      default:
        return take_opcode(instruction::map_0f, opcode_tables::map_0f[from_[at_]]);
    }
  }

  bool take_opcode(std::uint8_t map, char layout) noexcept {
    if (!has(1)) return false;
    insn_.map = map;
    insn_.opcode = from_[at_];
    insn_.opcode_offset = at_++;
    layout_ = layout;
    return layout != 'x';
  }

  // SDM 2.3.2 to 2.3.4, 2.7.11.2: these before a VEX, EVEX or XOP prefix raise #UD.
  [[nodiscard]] bool forbidden_prefix() const noexcept {
    return insn_.operand_size || insn_.rep || insn_.repne || insn_.lock || insn_.rex != 0;
  }

  // R, X and B are stored inverted in bits 7..5 of the byte after c4, c5, 62 or 8f; W is bit 7 of the next.
  void extensions(std::uint8_t inverted_rxb, std::uint8_t w) noexcept {
    insn_.rex = static_cast<std::uint8_t>(0x40 | (w >> 7 << 3) | ((~inverted_rxb >> 5) & 7));
  }

  bool vex(std::uint8_t first) noexcept {
    const unsigned size = first == 0xc5 ? 2 : 3;
    if (forbidden_prefix() || !has(size)) return false;
    insn_.encoding = instruction::form::vex;
    const std::uint8_t second = from_[at_ + 1];
    std::uint8_t map = instruction::map_0f;
    if (size == 2) {
      extensions(second | 0x60, 0);
    } else {
      map = second & 0x1f;
      extensions(second, from_[at_ + 2]);
    }
    return prefixed_opcode(size, map);
  }

  bool evex() noexcept {
    if (forbidden_prefix() || !has(4)) return false;
    const std::uint8_t p0 = from_[at_ + 1];
    const std::uint8_t p1 = from_[at_ + 2];
    if ((p0 & 0x08) != 0 || (p1 & 0x04) == 0) return false;  // SDM 2.7.1: fixed bits
    insn_.encoding = instruction::form::evex;
    extensions(p0, p1);
    return prefixed_opcode(4, p0 & 0x07);
  }

  bool prefixed_opcode(unsigned prefix_size, std::uint8_t map) noexcept {
    at_ = static_cast<std::uint8_t>(at_ + prefix_size);
    if (!has(1)) return false;
    switch (map) {
      case instruction::map_0f:
        return take_opcode(map, vector_layout(from_[at_]));
      case instruction::map_0f38:
        return take_opcode(map, 'm');
      case instruction::map_0f3a:
        return take_opcode(map, 'B');
      case 5:  // AVX512-FP16
      case 6:
        return take_opcode(map, insn_.encoding == instruction::form::evex ? 'm' : 'x');
      default:
        return false;
    }
  }

  // The vector instructions of map 0f take an immediate where the SSE instructions of the same opcode do.
  [[nodiscard]] char vector_layout(std::uint8_t opcode) const noexcept {
    if (opcode == 0x77 && insn_.encoding == instruction::form::vex) return '.';  // vzeroupper, vzeroall
    const bool immediate =
        (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 || (opcode >= 0xc4 && opcode <= 0xc6);
    return immediate ? 'B' : 'm';
  }

  bool xop() noexcept {
    if (forbidden_prefix() || !has(3)) return false;
    insn_.encoding = instruction::form::xop;
    const std::uint8_t map = from_[at_ + 1] & 0x1f;
    extensions(from_[at_ + 1], from_[at_ + 2]);
    at_ = static_cast<std::uint8_t>(at_ + 3);
    switch (map) {
      case 8:
        return take_opcode(map, 'B');
      case 9:
        return take_opcode(map, 'm');
      case 10:
        return take_opcode(map, 'Z');
      default:
        return false;
    }
  }

  bool operands() noexcept {
    switch (layout_) {
      case '.':
        return true;
      case 'b':
        return immediate(1);
      case 'w':
        return immediate(2);
      case 'e':
        return immediate(3);
      case 'z':
        return immediate(immz());
      case 'v':
        return immediate(insn_.rex_w() ? 8 : immz());
      case 'J':
        // Behind 66 Intel reads a rel32, AMD a rel16; REX.W overrides 66 on both.
        return (!insn_.operand_size || insn_.rex_w()) && immediate(4);
      case 'o':
        return displacement(insn_.address_size ? 4 : 8);
      default:
        break;
    }
    if (!modrm()) return false;
    const bool test =
        ((insn_.modrm >> 3) & 7) <= 1;  // test is /0 and /1 of its group, the others have no immediate
    switch (layout_) {
      case 'B':
        return immediate(1);
      case 'Z':
        return immediate(immz());
      case 't':
        return immediate(test ? 1 : 0);
      case 'T':
        return immediate(test ? immz() : 0);
      case 'S':
        return immediate(insn_.operand_size || insn_.repne ? 2 : 0);
      default:
        return insn_.map != instruction::map_3dnow || take_opcode(instruction::map_3dnow, 'm');
    }
  }

  [[nodiscard]] unsigned immz() const noexcept { return insn_.operand_size && !insn_.rex_w() ? 2 : 4; }

  bool modrm() noexcept {
    if (!has(1)) return false;
    insn_.has_modrm = true;
    insn_.modrm = from_[at_];
    insn_.modrm_offset = at_++;
    const unsigned mod = insn_.mod();
    unsigned base = insn_.modrm & 7;
    if (mod == direct || layout_ == 'R') return true;
    if (base == sib_follows) {
      if (!has(1)) return false;
      insn_.has_sib = true;
      insn_.sib = from_[at_++];
      base = insn_.sib & 7;
    }
    if (mod == 1) return displacement(1);
    if (mod == 2) return displacement(4);
    if (base != no_base) return true;
    insn_.rip_relative = !insn_.has_sib;
    return displacement(4);
  }

  bool displacement(unsigned size) noexcept {
    if (!has(size)) return false;
    insn_.displacement_size = static_cast<std::uint8_t>(size);
    insn_.displacement_offset = at_;
    insn_.displacement = little_endian(from_ + at_, size);
    at_ = static_cast<std::uint8_t>(at_ + size);
    return true;
  }

  bool immediate(unsigned size) noexcept {
    if (size == 0) return true;
    if (!has(size)) return false;
    insn_.immediate_size = static_cast<std::uint8_t>(size);
    insn_.immediate_offset = at_;
    insn_.immediate = little_endian(from_ + at_, size);
    at_ = static_cast<std::uint8_t>(at_ + size);
    return true;
  }

  const std::uint8_t* from_;
  std::uint8_t end_;
  std::uint8_t at_ = 0;
  char layout_ = 'x';
  instruction& insn_;
};

}  // namespace

result<instruction> split(std::span<const std::uint8_t> bytes) noexcept {
  instruction insn{};
  if (!splitter{bytes, insn}.run()) return errc::undecodable_instruction;
  return insn;
}

}  // namespace libprobe::arch
