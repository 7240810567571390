// What follows each opcode, by Intel SDM vol. 2, appendix A (opcode maps), for 64-bit mode.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace libprobe::arch::opcode_tables {

// One letter for each opcode, 16 a row:
//   .  the opcode alone           m  ModRM
//   b  imm8 or rel8               B  ModRM, imm8
//   w  imm16                      e  imm16, imm8 (enter)
//   z  imm16 or imm32             Z  ModRM, imm16 or imm32
//   v  imm16, imm32 or imm64      o  memory offset of the address size
//   t  ModRM, imm8 for /0 and /1  T  ModRM, imm16 or imm32 for /0 and /1
//   J  rel32                      R  ModRM that always names registers, whatever its mod (mov to and from
//   CRn, DRn) S  ModRM, two imm8 behind 66 or f2 (SSE4a extrq, insertq) p  legacy prefix              r  REX
//   prefix E  escape to another map      x  no instruction in 64-bit mode
struct layout {
  std::array<char, 256> of;
  constexpr char operator[](std::uint8_t opcode) const noexcept { return of[opcode]; }
};

consteval layout rows(const char (&text)[257]) {
  layout l{};
  for (std::size_t i = 0; i < 256; ++i) l.of[i] = text[i];
  return l;
}

// Table A-2. 62, 8f, c4 and c5 are looked at before the table.
inline constexpr layout one_byte = rows(
    "mmmmbzxxmmmmbzxE"  // 00
    "mmmmbzxxmmmmbzxx"  // 10
    "mmmmbzpxmmmmbzpx"  // 20
    "mmmmbzpxmmmmbzpx"  // 30
    "rrrrrrrrrrrrrrrr"  // 40
    "................"  // 50
    "xxxmppppzZbB...."  // 60
    "bbbbbbbbbbbbbbbb"  // 70
    "BZxBmmmmmmmmmmmm"  // 80
    "..........x....."  // 90
    "oooo....bz......"  // a0
    "bbbbbbbbvvvvvvvv"  // b0
    "BBw.xxBZe.w..bx."  // c0
    "mmmmxxx.mmmmmmmm"  // d0
    "bbbbbbbbJJxb...."  // e0
    "p.pp..tT......mm"  // f0
);

// Table A-3. 0f 0f (3DNow!) is looked at before the table.
inline constexpr layout map_0f = rows(
    "mmmmx.....x.xm.E"  // 00
    "mmmmmmmmmmmmmmmm"  // 10
    "RRRRxxxxmmmmmmmm"  // 20
    "......x.ExExxxxx"  // 30
    "mmmmmmmmmmmmmmmm"  // 40
    "mmmmmmmmmmmmmmmm"  // 50
    "mmmmmmmmmmmmmmmm"  // 60
    "BBBBmmm.Smxxmmmm"  // 70
    "JJJJJJJJJJJJJJJJ"  // 80
    "mmmmmmmmmmmmmmmm"  // 90
    "...mBmmm...mBmmm"  // a0
    "mmmmmmmmmmBmmmmm"  // b0
    "mmBmBBBm........"  // c0
    "mmmmmmmmmmmmmmmm"  // d0
    "mmmmmmmmmmmmmmmm"  // e0
    "mmmmmmmmmmmmmmmm"  // f0
);

// Which instructions exist, by SDM vol. 2, appendix A, and AMD APM vol. 3, appendix A, for the legacy maps.
//
// Two hexadecimal digits for each opcode: with a memory operand, with a register operand. Bits of a digit:
//   1  with no mandatory prefix   2  behind 66   4  behind f3   8  behind f2
// so f is an instruction to which these prefixes are no part of the opcode. 00: none, or a group below.
struct existence {
  std::array<std::uint8_t, 256> of;
  [[nodiscard]] constexpr std::uint8_t memory(std::uint8_t opcode) const noexcept { return of[opcode] >> 4; }
  [[nodiscard]] constexpr std::uint8_t registers(std::uint8_t opcode) const noexcept {
    return of[opcode] & 15;
  }
};

consteval std::uint8_t digit(char c) { return static_cast<std::uint8_t>(c <= '9' ? c - '0' : c - 'a' + 10); }

consteval existence rows(const char (&text)[256 * 3 + 1]) {
  existence e{};
  for (std::size_t i = 0; i < 256; ++i) {
    e.of[i] = static_cast<std::uint8_t>(digit(text[3 * i]) << 4 | digit(text[3 * i + 1]));
  }
  return e;
}

// An opcode that ModRM.reg extends: a digit for each reg.
struct group {
  std::uint8_t opcode;
  std::array<std::uint8_t, 8> memory;
  std::array<std::uint8_t, 8> registers;
};

consteval group digits(std::uint8_t opcode, const char (&memory)[9], const char (&registers)[9]) {
  group g{opcode, {}, {}};
  for (std::size_t i = 0; i < 8; ++i) {
    g.memory[i] = digit(memory[i]);
    g.registers[i] = digit(registers[i]);
  }
  return g;
}

// d8..df (x87) are not here.
inline constexpr existence one_byte_exists = rows(
    "ff ff ff ff ff ff 00 00 ff ff ff ff ff ff 00 00 "  // 00
    "ff ff ff ff ff ff 00 00 ff ff ff ff ff ff 00 00 "  // 10
    "ff ff ff ff ff ff 00 00 ff ff ff ff ff ff 00 00 "  // 20
    "ff ff ff ff ff ff 00 00 ff ff ff ff ff ff 00 00 "  // 30
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 40
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // 50
    "00 00 00 ff 00 00 00 00 ff ff ff ff ff ff ff ff "  // 60
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // 70
    "ff ff 00 ff ff ff ff ff ff ff ff ff 00 f0 00 00 "  // 80
    "ff ff ff ff ff ff ff ff ff ff 00 ff ff ff ff ff "  // 90
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // a0
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // b0
    "ff ff ff ff 00 00 00 00 ff ff ff ff ff ff 00 ff "  // c0
    "ff ff ff ff 00 00 00 ff 00 00 00 00 00 00 00 00 "  // d0
    "ff ff ff ff ff ff ff ff ff ff 00 ff ff ff ff ff "  // e0
    "00 ff 00 00 ff ff ff ff ff ff ff ff ff ff 00 00 "  // f0
);
inline constexpr group one_byte_groups[] = {
    digits(0x8c, "ffffff00", "ffffff00"),  // mov from Sreg
    digits(0x8e, "f0ffff00", "f0ffff00"),  // mov to Sreg
    digits(0x8f, "f0000000", "f0000000"),  // group 1A
    digits(0xc6, "f0000000", "f000000f"),  // group 11; xabort
    digits(0xc7, "f0000000", "f000000f"),  // group 11; xbegin
    digits(0xfe, "ff000000", "ff000000"),  // group 4
    digits(0xff, "fffffff0", "fff0f0f0"),  // group 5
};

inline constexpr existence map_0f_exists = rows(
    "00 00 ff ff 00 ff ff ff ff ff 00 ff 00 ff ff 00 "  // 00
    "ff ff fd 30 33 33 75 30 ff ff ff ff ff ff ff ff "  // 10; 18..1f are no-operations where they are nothing
                                                        // else
    "00 00 00 00 00 00 00 00 33 33 ff f0 ff ff 33 33 "  // 20
    "ff ff ff ff ff ff 00 11 00 00 00 00 00 00 00 00 "  // 30
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // 40
    "03 ff 55 55 33 33 33 33 ff ff ff 77 ff ff ff ff "  // 50
    "33 33 33 33 33 33 33 33 33 33 33 33 22 22 33 77 "  // 60
    "ff 00 00 00 33 33 33 11 00 1b 00 00 aa aa 77 77 "  // 70
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // 80
    "ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff ff "  // 90
    "ff ff ff ff ff ff 00 00 ff ff ff ff ff ff 00 ff "  // a0
    "ff ff f0 ff f0 f0 ff ff 44 ff 00 ff ff ff ff ff "  // b0
    "ff ff ff 10 33 03 33 00 ff ff ff ff ff ff ff ff "  // c0
    "aa 33 33 33 33 33 2e 03 33 33 33 33 33 33 33 33 "  // d0
    "33 33 33 33 33 33 ee 30 33 33 33 33 33 33 33 33 "  // e0
    "80 33 33 33 33 33 33 03 33 33 33 33 33 33 33 ff "  // f0
);
inline constexpr group map_0f_groups[] = {
    digits(0x00, "ffffff00", "ffffff00"),  // group 6
    digits(0x01, "fffff4ff", "0000f0f0"),  // group 7; the rest of its register forms: group_7_registers
    digits(0x20, "f0fff000", "f0fff000"),  // mov from CR0, 2, 3, 4, 8
    digits(0x21, "ffffffff", "ffffffff"),  // mov from DRn
    digits(0x22, "f0fff000", "f0fff000"),  // mov to CRn
    digits(0x23, "ffffffff", "ffffffff"),  // mov to DRn
    digits(0x71, "00000000", "00303030"),  // group 12
    digits(0x72, "00000000", "00303030"),  // group 13
    digits(0x73, "00000000", "00320032"),  // group 14
    digits(0x78, "11111111", "b9999999"),  // vmread; SSE4a extrq (66), insertq (f2)
    digits(0xa6, "00000000", "44400000"),  // VIA PadLock
    digits(0xa7, "00000000", "74444400"), digits(0xae, "11115173", "444445f1"),  // group 15
    digits(0xba, "0000ffff", "0000ffff"),                                        // group 8
    digits(0xc7, "0f011171", "00000077"),                                        // group 9
};
// 0f 01 with ModRM c0..ff, except /4 (smsw) and /6 (lmsw): a digit each.
struct register_forms {
  std::array<std::uint8_t, 64> of;
};
consteval register_forms digits(const char (&text)[65]) {
  register_forms r{};
  for (std::size_t i = 0; i < 64; ++i) r.of[i] = digit(text[i]);
  return r;
}
inline constexpr register_forms group_7_registers = digits(
    "1111110011112223"
    "11001111ffffffff"
    "ffffffffd8404455"
    "ffffffffff51ffdd");

inline constexpr existence map_0f38_exists = rows(
    "33 33 33 33 33 33 33 33 33 33 33 33 00 00 00 00 "  // 00
    "22 00 00 00 22 22 00 22 00 00 00 00 33 33 33 00 "  // 10
    "22 22 22 22 22 22 00 00 22 22 20 22 00 00 00 00 "  // 20
    "22 22 22 22 22 22 00 22 22 22 22 22 22 22 22 22 "  // 30
    "22 22 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 40
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 50
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 60
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 70
    "20 20 20 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 80
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 90
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // a0
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // b0
    "00 00 00 00 00 00 00 00 11 11 11 11 11 11 00 22 "  // c0
    "00 00 00 00 00 00 00 00 00 00 00 22 66 62 62 62 "  // d0
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // e0
    "b8 b8 00 00 00 20 76 00 e0 10 04 04 00 00 00 00 "  // f0
);
inline constexpr group map_0f38_groups[] = {
    digits(0xd8, "44440000", "00000000"),  // Key Locker wide
};

inline constexpr existence map_0f3a_exists = rows(
    "00 00 00 00 00 00 00 00 22 22 22 22 22 22 22 33 "  // 00
    "00 00 00 00 22 22 22 22 00 00 00 00 00 00 00 00 "  // 10
    "22 22 22 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 20
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 30
    "22 22 22 00 22 00 00 00 00 00 00 00 00 00 00 00 "  // 40
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 50
    "22 22 22 22 00 00 00 00 00 00 00 00 00 00 00 00 "  // 60
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 70
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 80
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // 90
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // a0
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // b0
    "00 00 00 00 00 00 00 00 00 00 00 00 11 00 22 22 "  // c0
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 22 "  // d0
    "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // e0
    "04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "  // f0
);

// VEX instructions that Capstone 4.0.2 does not know, or not at every vector length; digits as in
// `existence`, VEX.pp being the mandatory prefix.
struct vex_range {
  std::uint8_t map, first, last;
  std::uint8_t memory, registers;
};
inline constexpr vex_range newer_vex[] = {
    {1, 0x41, 0x42, 0x0, 0x3},  // kand, kandn
    {1, 0x44, 0x47, 0x0, 0x3},  // knot, kor, kxnor, kxor
    {1, 0x4a, 0x4b, 0x0, 0x3},  // kadd, kunpck
    {1, 0x90, 0x90, 0x3, 0x3},  // kmov
    {1, 0x91, 0x91, 0x3, 0x0}, {1, 0x92, 0x93, 0x0, 0xb}, {1, 0x98, 0x99, 0x0, 0x3},  // kortest, ktest
    {2, 0x49, 0x49, 0x3, 0x9},                             // AMX: configuration, tilezero, tilerelease
    {2, 0x4b, 0x4b, 0xe, 0x0},                             // tile loads and stores
    {2, 0x50, 0x51, 0xf, 0xf},                             // AVX-VNNI, AVX-VNNI-INT8
    {2, 0x52, 0x53, 0x2, 0x2}, {2, 0x5a, 0x5a, 0x2, 0x0},  // vbroadcasti128
    {2, 0x5c, 0x5c, 0x0, 0xc},                             // AMX-BF16, AMX-FP16
    {2, 0x5e, 0x5e, 0x0, 0xf},                             // AMX-INT8
    {2, 0x6c, 0x6c, 0x0, 0x3},                             // AMX-COMPLEX
    {2, 0x72, 0x72, 0x4, 0x4},                             // AVX-NE-CONVERT
    {2, 0xb0, 0xb0, 0xf, 0x0}, {2, 0xb1, 0xb1, 0x6, 0x0}, {2, 0xb4, 0xb5, 0x2, 0x2},  // AVX-IFMA
    {2, 0xcb, 0xcd, 0x0, 0x8},                                                        // SHA512
    {2, 0xcf, 0xcf, 0x2, 0x2},                                                        // GFNI
    {2, 0xd2, 0xd3, 0x7, 0x7},                                                        // AVX-VNNI-INT16
    {2, 0xda, 0xda, 0xf, 0xf},                                                        // SM3, SM4
    {2, 0xdc, 0xdf, 0x2, 0x2},                                                        // VAES
    {2, 0xe0, 0xef, 0x2, 0x0},                                                        // CMPccXADD
    {3, 0x30, 0x33, 0x0, 0x2},                                                        // kshift
    {3, 0x44, 0x44, 0x2, 0x2},                                                        // VPCLMULQDQ
    {3, 0xce, 0xcf, 0x2, 0x2},                                                        // GFNI
    {3, 0xde, 0xde, 0x2, 0x2},                                                        // SM3
};

}  // namespace libprobe::arch::opcode_tables
