// One decoded x86-64 instruction: where its parts lie, by the encoding rules of the Intel SDM (vol. 2,
// chapter 2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace libprobe::arch {

inline constexpr std::size_t max_instruction_length = 15;

struct instruction {
  enum class form : std::uint8_t { legacy, vex, evex, xop };
  enum opcode_map : std::uint8_t { one_byte = 0, map_0f = 1, map_0f38 = 2, map_0f3a = 3, map_3dnow = 0x0f };

  std::uint8_t bytes[max_instruction_length];
  std::uint8_t length;
  form encoding;
  std::uint8_t map;     // opcode_map; for VEX, EVEX and XOP the map number they select
  std::uint8_t opcode;  // the opcode byte itself, without its escapes
  std::uint8_t opcode_offset;

  // legacy prefixes
  bool operand_size;     // 66
  bool address_size;     // 67
  bool lock;             // f0
  bool repne;            // f2 (the last of f2, f3 wins)
  bool rep;              // f3
  std::uint8_t segment;  // 26 2e 36 3e 64 65, the last one; 0: none
  std::uint8_t rex;  // 40..4f; 0: none. For VEX, EVEX, XOP: their R, X, B, W bits in the form of a REX byte

  bool has_modrm;
  std::uint8_t modrm;
  std::uint8_t modrm_offset;
  bool has_sib;
  std::uint8_t sib;
  std::uint8_t displacement_size;  // bytes: 0, 1, 2, 4, 8 (8: moffs)
  std::uint8_t displacement_offset;
  std::uint8_t immediate_size;  // bytes, all immediates together: 0, 1, 2, 3 (enter), 4, 8
  std::uint8_t immediate_offset;
  bool rip_relative;          // mod 0, rm 5: the operand is at the next instruction's address + displacement
  std::int64_t displacement;  // sign-extended (not scaled for EVEX disp8*N)
  std::int64_t immediate;     // sign-extended

  [[nodiscard]] bool rex_w() const noexcept { return (rex & 8) != 0; }
  [[nodiscard]] unsigned mod() const noexcept { return modrm >> 6; }
  /// Register numbers 0..15, extended by REX.
  [[nodiscard]] unsigned reg() const noexcept { return ((modrm >> 3) & 7) | ((rex & 4) != 0 ? 8U : 0U); }
  [[nodiscard]] unsigned rm() const noexcept { return (modrm & 7) | ((rex & 1) != 0 ? 8U : 0U); }
};

inline constexpr std::size_t landing_pad_length = 4;  // endbr64

/// Where near branches of one function may lead, whatever its instructions are: fields that would be a
/// branch's distance, if an instruction ended there. Some are none.
class branch_targets {
 public:
  /// `behind`: what follows the function.
  branch_targets(std::span<const std::uint8_t> function, std::size_t behind);
  /// Another way in.
  void add(std::size_t offset) noexcept { targets_[offset] = 1; }
  /// Bit n: one may lead n bytes behind the offset, n from 1 up to `length`. `function`: as above.
  [[nodiscard]] std::uint32_t behind(std::span<const std::uint8_t> function, std::size_t offset,
                                     std::size_t length) const noexcept;

 private:
  std::vector<std::uint8_t> targets_;  // 1 where one may lead
};

}  // namespace libprobe::arch
