// split() and decode() against hand-made expectations, Zydis and binutils' objdump.
#include <Zydis/Zydis.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <gelf.h>
#include <gtest/gtest.h>
#include <libelf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "arch/insn.hpp"

namespace {

using libprobe::errc;
using libprobe::arch::decode;
using libprobe::arch::instruction;
using libprobe::arch::max_instruction_length;
using libprobe::arch::split;
using bytes = std::span<const std::uint8_t>;
using form = instruction::form;

std::vector<std::uint8_t> from_hex(std::string_view text) {
  std::vector<std::uint8_t> out;
  const std::string copy{text};
  for (const char* at = copy.c_str();;) {
    char* end = nullptr;
    const unsigned long value = std::strtoul(at, &end, 16);
    if (end == at) return out;
    out.push_back(static_cast<std::uint8_t>(value));
    at = end;
  }
}

std::string to_hex(bytes code) {
  std::string text;
  char digits[4];
  for (const std::uint8_t byte : code) {
    std::snprintf(digits, sizeof digits, "%02x ", byte);
    text += digits;
  }
  return text;
}

// What Zydis says of the first instruction; length 0: none.
struct second_opinion {
  unsigned length = 0;
  bool rip_relative = false;
  ZydisMnemonic mnemonic = ZYDIS_MNEMONIC_INVALID;
};

second_opinion ask_zydis(bytes code) {
  static const ZydisDecoder decoder = [] {
    ZydisDecoder d;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return d;
  }();
  ZydisDecodedInstruction insn;
  if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, code.data(), code.size(), &insn)))
    return {};
  // Zydis reads mov to and from CRn and DRn as register forms whatever their mod, and so do we: no
  // displacement.
  const bool rip = (insn.attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0 && insn.raw.modrm.mod == 0 &&
                   insn.raw.modrm.rm == 5 && insn.raw.disp.size == 32;
  return {insn.length, rip, insn.mnemonic};
}

// ---- one instruction at a time
// -------------------------------------------------------------------------------

struct expectation {
  const char* code;
  instruction fields;  // without bytes and length, which the code gives
};

std::ostream& operator<<(std::ostream& out, const expectation& e) { return out << e.code; }

class SplitsInto : public testing::TestWithParam<expectation> {};

TEST_P(SplitsInto, EveryField) {
  const auto code = from_hex(GetParam().code);
  const instruction& want = GetParam().fields;
  auto padded = code;
  padded.resize(code.size() + 8, 0xcc);
  const auto got = split(padded);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->length, code.size());
  EXPECT_EQ(std::memcmp(got->bytes, code.data(), code.size()), 0);
  EXPECT_TRUE(std::all_of(got->bytes + got->length, got->bytes + max_instruction_length,
                          [](std::uint8_t byte) { return byte == 0; }));
  EXPECT_EQ(got->encoding, want.encoding);
  EXPECT_EQ(got->map, want.map);
  EXPECT_EQ(got->opcode, want.opcode);
  EXPECT_EQ(got->opcode_offset, want.opcode_offset);
  EXPECT_EQ(got->operand_size, want.operand_size);
  EXPECT_EQ(got->address_size, want.address_size);
  EXPECT_EQ(got->lock, want.lock);
  EXPECT_EQ(got->repne, want.repne);
  EXPECT_EQ(got->rep, want.rep);
  EXPECT_EQ(got->segment, want.segment);
  EXPECT_EQ(got->rex, want.rex);
  EXPECT_EQ(got->has_modrm, want.has_modrm);
  EXPECT_EQ(got->modrm, want.modrm);
  EXPECT_EQ(got->modrm_offset, want.modrm_offset);
  EXPECT_EQ(got->has_sib, want.has_sib);
  EXPECT_EQ(got->sib, want.sib);
  EXPECT_EQ(got->displacement_size, want.displacement_size);
  EXPECT_EQ(got->displacement_offset, want.displacement_offset);
  EXPECT_EQ(got->immediate_size, want.immediate_size);
  EXPECT_EQ(got->immediate_offset, want.immediate_offset);
  EXPECT_EQ(got->rip_relative, want.rip_relative);
  EXPECT_EQ(got->displacement, want.displacement);
  EXPECT_EQ(got->immediate, want.immediate);

  const auto decoded = decode(padded);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->length, code.size());
  EXPECT_EQ(ask_zydis(padded).length, code.size());
}

// clang-format off
const expectation table[] = {
    // one byte
    {"90", {.opcode = 0x90}},
    {"f3 90", {.opcode = 0x90, .opcode_offset = 1, .rep = true}},
    {"41 57", {.opcode = 0x57, .opcode_offset = 1, .rex = 0x41}},
    {"f3 c3", {.opcode = 0xc3, .opcode_offset = 1, .rep = true}},
    {"c2 08 80", {.opcode = 0xc2, .immediate_size = 2, .immediate_offset = 1, .immediate = -0x7ff8}},
    {"66 48 c2 08 00", {.opcode = 0xc2, .opcode_offset = 2, .operand_size = true, .rex = 0x48, .immediate_size = 2, .immediate_offset = 3, .immediate = 8}},
    {"c8 10 00 01", {.opcode = 0xc8, .immediate_size = 3, .immediate_offset = 1, .immediate = 0x010010}},
    // immediates
    {"6a ff", {.opcode = 0x6a, .immediate_size = 1, .immediate_offset = 1, .immediate = -1}},
    {"68 78 56 34 12", {.opcode = 0x68, .immediate_size = 4, .immediate_offset = 1, .immediate = 0x12345678}},
    {"66 68 34 12", {.opcode = 0x68, .opcode_offset = 1, .operand_size = true, .immediate_size = 2, .immediate_offset = 2, .immediate = 0x1234}},
    {"b8 00 00 00 80", {.opcode = 0xb8, .immediate_size = 4, .immediate_offset = 1, .immediate = -0x80000000LL}},
    {"66 b8 34 12", {.opcode = 0xb8, .opcode_offset = 1, .operand_size = true, .immediate_size = 2, .immediate_offset = 2, .immediate = 0x1234}},
    {"49 bf 88 77 66 55 44 33 22 11", {.opcode = 0xbf, .opcode_offset = 1, .rex = 0x49, .immediate_size = 8, .immediate_offset = 2, .immediate = 0x1122334455667788}},
    {"48 05 ff ff ff ff", {.opcode = 0x05, .opcode_offset = 1, .rex = 0x48, .immediate_size = 4, .immediate_offset = 2, .immediate = -1}},
    {"66 48 05 01 00 00 00", {.opcode = 0x05, .opcode_offset = 2, .operand_size = true, .rex = 0x48, .immediate_size = 4, .immediate_offset = 3, .immediate = 1}},
    {"66 05 01 00", {.opcode = 0x05, .opcode_offset = 1, .operand_size = true, .immediate_size = 2, .immediate_offset = 2, .immediate = 1}},
    // offsets in memory
    {"a1 88 77 66 55 44 33 22 11", {.opcode = 0xa1, .displacement_size = 8, .displacement_offset = 1, .displacement = 0x1122334455667788}},
    {"67 48 a3 44 33 22 81", {.opcode = 0xa3, .opcode_offset = 2, .address_size = true, .rex = 0x48, .displacement_size = 4, .displacement_offset = 3, .displacement = -0x7eddccbc}},
    // branches
    {"eb fe", {.opcode = 0xeb, .immediate_size = 1, .immediate_offset = 1, .immediate = -2}},
    {"e8 fb ff ff ff", {.opcode = 0xe8, .immediate_size = 4, .immediate_offset = 1, .immediate = -5}},
    {"f2 e9 00 01 00 00", {.opcode = 0xe9, .opcode_offset = 1, .repne = true, .immediate_size = 4, .immediate_offset = 2, .immediate = 0x100}},
    {"66 66 48 e8 00 00 00 10", {.opcode = 0xe8, .opcode_offset = 3, .operand_size = true, .rex = 0x48, .immediate_size = 4, .immediate_offset = 4, .immediate = 0x10000000}},
    {"3e 75 10", {.opcode = 0x75, .opcode_offset = 1, .segment = 0x3e, .immediate_size = 1, .immediate_offset = 2, .immediate = 0x10}},
    {"0f 84 f0 ff ff ff", {.map = 1, .opcode = 0x84, .opcode_offset = 1, .immediate_size = 4, .immediate_offset = 2, .immediate = -16}},
    {"67 e3 05", {.opcode = 0xe3, .opcode_offset = 1, .address_size = true, .immediate_size = 1, .immediate_offset = 2, .immediate = 5}},
    {"ff 25 10 20 30 00", {.opcode = 0xff, .has_modrm = true, .modrm = 0x25, .modrm_offset = 1, .displacement_size = 4, .displacement_offset = 2, .rip_relative = true, .displacement = 0x302010}},
    {"3e ff e0", {.opcode = 0xff, .opcode_offset = 1, .segment = 0x3e, .has_modrm = true, .modrm = 0xe0, .modrm_offset = 2}},
    {"c7 f8 10 00 00 00", {.opcode = 0xc7, .has_modrm = true, .modrm = 0xf8, .modrm_offset = 1, .immediate_size = 4, .immediate_offset = 2, .immediate = 0x10}},
    // ModRM and SIB
    {"48 89 e5", {.opcode = 0x89, .opcode_offset = 1, .rex = 0x48, .has_modrm = true, .modrm = 0xe5, .modrm_offset = 2}},
    {"8b 03", {.opcode = 0x8b, .has_modrm = true, .modrm = 0x03, .modrm_offset = 1}},
    {"8b 45 f8", {.opcode = 0x8b, .has_modrm = true, .modrm = 0x45, .modrm_offset = 1, .displacement_size = 1, .displacement_offset = 2, .displacement = -8}},
    {"8b 83 00 00 00 80", {.opcode = 0x8b, .has_modrm = true, .modrm = 0x83, .modrm_offset = 1, .displacement_size = 4, .displacement_offset = 2, .displacement = -0x80000000LL}},
    {"4c 8d 3d fc ff ff ff", {.opcode = 0x8d, .opcode_offset = 1, .rex = 0x4c, .has_modrm = true, .modrm = 0x3d, .modrm_offset = 2, .displacement_size = 4, .displacement_offset = 3, .rip_relative = true, .displacement = -4}},
    {"41 8b 05 04 00 00 00", {.opcode = 0x8b, .opcode_offset = 1, .rex = 0x41, .has_modrm = true, .modrm = 0x05, .modrm_offset = 2, .displacement_size = 4, .displacement_offset = 3, .rip_relative = true, .displacement = 4}},
    {"67 8b 05 04 00 00 00", {.opcode = 0x8b, .opcode_offset = 1, .address_size = true, .has_modrm = true, .modrm = 0x05, .modrm_offset = 2, .displacement_size = 4, .displacement_offset = 3, .rip_relative = true, .displacement = 4}},
    {"48 8b 04 24", {.opcode = 0x8b, .opcode_offset = 1, .rex = 0x48, .has_modrm = true, .modrm = 0x04, .modrm_offset = 2, .has_sib = true, .sib = 0x24}},
    {"48 8b 44 24 08", {.opcode = 0x8b, .opcode_offset = 1, .rex = 0x48, .has_modrm = true, .modrm = 0x44, .modrm_offset = 2, .has_sib = true, .sib = 0x24, .displacement_size = 1, .displacement_offset = 4, .displacement = 8}},
    {"64 48 8b 04 25 28 00 00 00", {.opcode = 0x8b, .opcode_offset = 2, .segment = 0x64, .rex = 0x48, .has_modrm = true, .modrm = 0x04, .modrm_offset = 3, .has_sib = true, .sib = 0x25, .displacement_size = 4, .displacement_offset = 5, .displacement = 0x28}},
    {"42 8b 84 05 00 01 00 00", {.opcode = 0x8b, .opcode_offset = 1, .rex = 0x42, .has_modrm = true, .modrm = 0x84, .modrm_offset = 2, .has_sib = true, .sib = 0x05, .displacement_size = 4, .displacement_offset = 4, .displacement = 0x100}},
    {"41 8b 04 24", {.opcode = 0x8b, .opcode_offset = 1, .rex = 0x41, .has_modrm = true, .modrm = 0x04, .modrm_offset = 2, .has_sib = true, .sib = 0x24}},
    {"c7 05 fc 00 00 00 44 33 22 11", {.opcode = 0xc7, .has_modrm = true, .modrm = 0x05, .modrm_offset = 1, .displacement_size = 4, .displacement_offset = 2, .immediate_size = 4, .immediate_offset = 6, .rip_relative = true, .displacement = 0xfc, .immediate = 0x11223344}},
    {"66 c7 44 24 08 ff ff", {.opcode = 0xc7, .opcode_offset = 1, .operand_size = true, .has_modrm = true, .modrm = 0x44, .modrm_offset = 2, .has_sib = true, .sib = 0x24, .displacement_size = 1, .displacement_offset = 4, .immediate_size = 2, .immediate_offset = 5, .displacement = 8, .immediate = -1}},
    {"80 3d 01 02 00 00 80", {.opcode = 0x80, .has_modrm = true, .modrm = 0x3d, .modrm_offset = 1, .displacement_size = 4, .displacement_offset = 2, .immediate_size = 1, .immediate_offset = 6, .rip_relative = true, .displacement = 0x201, .immediate = -0x80}},
    {"69 c1 00 01 00 00", {.opcode = 0x69, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 1, .immediate_size = 4, .immediate_offset = 2, .immediate = 0x100}},
    // test has an immediate, its neighbours in the group have none
    {"f6 c1 01", {.opcode = 0xf6, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 1, .immediate_size = 1, .immediate_offset = 2, .immediate = 1}},
    {"f6 c9 01", {.opcode = 0xf6, .has_modrm = true, .modrm = 0xc9, .modrm_offset = 1, .immediate_size = 1, .immediate_offset = 2, .immediate = 1}},
    {"f6 d1", {.opcode = 0xf6, .has_modrm = true, .modrm = 0xd1, .modrm_offset = 1}},
    {"48 f7 c1 01 00 00 00", {.opcode = 0xf7, .opcode_offset = 1, .rex = 0x48, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 2, .immediate_size = 4, .immediate_offset = 3, .immediate = 1}},
    {"66 f7 c1 01 00", {.opcode = 0xf7, .opcode_offset = 1, .operand_size = true, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 2, .immediate_size = 2, .immediate_offset = 3, .immediate = 1}},
    {"48 f7 d8", {.opcode = 0xf7, .opcode_offset = 1, .rex = 0x48, .has_modrm = true, .modrm = 0xd8, .modrm_offset = 2}},
    // prefixes: any order; a REX prefix elsewhere than before the opcode is ignored; of f2 and f3 the last wins
    {"48 66 89 c0", {.opcode = 0x89, .opcode_offset = 2, .operand_size = true, .has_modrm = true, .modrm = 0xc0, .modrm_offset = 3}},
    {"48 41 89 c0", {.opcode = 0x89, .opcode_offset = 2, .rex = 0x41, .has_modrm = true, .modrm = 0xc0, .modrm_offset = 3}},
    {"f3 f2 a4", {.opcode = 0xa4, .opcode_offset = 2, .repne = true}},
    {"f2 f3 48 a5", {.opcode = 0xa5, .opcode_offset = 3, .rep = true, .rex = 0x48}},
    {"64 2e 67 f0 48 0f b1 0a", {.map = 1, .opcode = 0xb1, .opcode_offset = 6, .address_size = true, .lock = true, .segment = 0x2e, .rex = 0x48, .has_modrm = true, .modrm = 0x0a, .modrm_offset = 7}},
    {"66 2e 0f 1f 84 00 00 00 00 00", {.map = 1, .opcode = 0x1f, .opcode_offset = 3, .operand_size = true, .segment = 0x2e, .has_modrm = true, .modrm = 0x84, .modrm_offset = 4, .has_sib = true, .sib = 0x00, .displacement_size = 4, .displacement_offset = 6}},
    // map 0f
    {"0f 05", {.map = 1, .opcode = 0x05, .opcode_offset = 1}},
    {"0f 0b", {.map = 1, .opcode = 0x0b, .opcode_offset = 1}},
    {"0f b9 c0", {.map = 1, .opcode = 0xb9, .opcode_offset = 1, .has_modrm = true, .modrm = 0xc0, .modrm_offset = 2}},
    {"f3 0f 1e fa", {.map = 1, .opcode = 0x1e, .opcode_offset = 2, .rep = true, .has_modrm = true, .modrm = 0xfa, .modrm_offset = 3}},
    {"f3 48 0f 1e c8", {.map = 1, .opcode = 0x1e, .opcode_offset = 3, .rep = true, .rex = 0x48, .has_modrm = true, .modrm = 0xc8, .modrm_offset = 4}},
    {"f3 48 0f ae e8", {.map = 1, .opcode = 0xae, .opcode_offset = 3, .rep = true, .rex = 0x48, .has_modrm = true, .modrm = 0xe8, .modrm_offset = 4}},
    {"0f 20 05", {.map = 1, .opcode = 0x20, .opcode_offset = 1, .has_modrm = true, .modrm = 0x05, .modrm_offset = 2}},
    {"48 0f ba 2d 01 00 00 00 3f", {.map = 1, .opcode = 0xba, .opcode_offset = 2, .rex = 0x48, .has_modrm = true, .modrm = 0x2d, .modrm_offset = 3, .displacement_size = 4, .displacement_offset = 4, .immediate_size = 1, .immediate_offset = 8, .rip_relative = true, .displacement = 1, .immediate = 0x3f}},
    {"41 0f c8", {.map = 1, .opcode = 0xc8, .opcode_offset = 2, .rex = 0x41}},
    {"66 0f 78 c1 04 08", {.map = 1, .opcode = 0x78, .opcode_offset = 2, .operand_size = true, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 3, .immediate_size = 2, .immediate_offset = 4, .immediate = 0x0804}},
    {"0f 78 c1", {.map = 1, .opcode = 0x78, .opcode_offset = 1, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 2}},
    {"0f 0f 05 01 00 00 00 9e", {.map = 0x0f, .opcode = 0x9e, .opcode_offset = 7, .has_modrm = true, .modrm = 0x05, .modrm_offset = 2, .displacement_size = 4, .displacement_offset = 3, .rip_relative = true, .displacement = 1}},
    // maps 0f38 and 0f3a
    {"f2 48 0f 38 f1 c3", {.map = 2, .opcode = 0xf1, .opcode_offset = 4, .repne = true, .rex = 0x48, .has_modrm = true, .modrm = 0xc3, .modrm_offset = 5}},
    {"66 0f 3a 0f 05 02 00 00 00 08", {.map = 3, .opcode = 0x0f, .opcode_offset = 3, .operand_size = true, .has_modrm = true, .modrm = 0x05, .modrm_offset = 4, .displacement_size = 4, .displacement_offset = 5, .immediate_size = 1, .immediate_offset = 9, .rip_relative = true, .displacement = 2, .immediate = 8}},
    // VEX
    {"c5 f8 77", {.encoding = form::vex, .map = 1, .opcode = 0x77, .opcode_offset = 2, .rex = 0x40}},
    {"c5 7d 6f 05 10 00 00 00", {.encoding = form::vex, .map = 1, .opcode = 0x6f, .opcode_offset = 2, .rex = 0x44, .has_modrm = true, .modrm = 0x05, .modrm_offset = 3, .displacement_size = 4, .displacement_offset = 4, .rip_relative = true, .displacement = 0x10}},
    {"c4 c2 fb f7 c1", {.encoding = form::vex, .map = 2, .opcode = 0xf7, .opcode_offset = 3, .rex = 0x49, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 4}},
    {"c4 e3 fb f0 c8 0d", {.encoding = form::vex, .map = 3, .opcode = 0xf0, .opcode_offset = 3, .rex = 0x48, .has_modrm = true, .modrm = 0xc8, .modrm_offset = 4, .immediate_size = 1, .immediate_offset = 5, .immediate = 0x0d}},
    {"c5 f9 70 c0 1b", {.encoding = form::vex, .map = 1, .opcode = 0x70, .opcode_offset = 2, .rex = 0x40, .has_modrm = true, .modrm = 0xc0, .modrm_offset = 3, .immediate_size = 1, .immediate_offset = 4, .immediate = 0x1b}},
    {"64 c5 fa 10 04 25 08 00 00 00", {.encoding = form::vex, .map = 1, .opcode = 0x10, .opcode_offset = 3, .segment = 0x64, .rex = 0x40, .has_modrm = true, .modrm = 0x04, .modrm_offset = 4, .has_sib = true, .sib = 0x25, .displacement_size = 4, .displacement_offset = 6, .displacement = 8}},
    // EVEX
    {"62 a1 fe 28 6f 46 01", {.encoding = form::evex, .map = 1, .opcode = 0x6f, .opcode_offset = 4, .rex = 0x4a, .has_modrm = true, .modrm = 0x46, .modrm_offset = 5, .displacement_size = 1, .displacement_offset = 6, .displacement = 1}},
    {"62 f3 45 20 3f 05 10 00 00 00 04", {.encoding = form::evex, .map = 3, .opcode = 0x3f, .opcode_offset = 4, .rex = 0x40, .has_modrm = true, .modrm = 0x05, .modrm_offset = 5, .displacement_size = 4, .displacement_offset = 6, .immediate_size = 1, .immediate_offset = 10, .rip_relative = true, .displacement = 0x10, .immediate = 4}},
    {"62 f1 fd 48 72 e0 3f", {.encoding = form::evex, .map = 1, .opcode = 0x72, .opcode_offset = 4, .rex = 0x48, .has_modrm = true, .modrm = 0xe0, .modrm_offset = 5, .immediate_size = 1, .immediate_offset = 6, .immediate = 0x3f}},
    {"62 f5 7c 48 58 c1", {.encoding = form::evex, .map = 5, .opcode = 0x58, .opcode_offset = 4, .rex = 0x40, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 5}},
    {"62 f6 7d 48 98 c1", {.encoding = form::evex, .map = 6, .opcode = 0x98, .opcode_offset = 4, .rex = 0x40, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 5}},
    // XOP, and the pop that shares its first byte
    {"8f c0", {.opcode = 0x8f, .has_modrm = true, .modrm = 0xc0, .modrm_offset = 1}},
    {"8f 44 24 08", {.opcode = 0x8f, .has_modrm = true, .modrm = 0x44, .modrm_offset = 1, .has_sib = true, .sib = 0x24, .displacement_size = 1, .displacement_offset = 3, .displacement = 8}},
    {"8f e9 78 02 c8", {.encoding = form::xop, .map = 9, .opcode = 0x02, .opcode_offset = 3, .rex = 0x40, .has_modrm = true, .modrm = 0xc8, .modrm_offset = 4}},
    {"8f e8 78 c0 c1 05", {.encoding = form::xop, .map = 8, .opcode = 0xc0, .opcode_offset = 3, .rex = 0x40, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 4, .immediate_size = 1, .immediate_offset = 5, .immediate = 5}},
    {"8f ea f8 10 c1 08 08 00 00", {.encoding = form::xop, .map = 10, .opcode = 0x10, .opcode_offset = 3, .rex = 0x48, .has_modrm = true, .modrm = 0xc1, .modrm_offset = 4, .immediate_size = 4, .immediate_offset = 5, .immediate = 0x808}},
};
// clang-format on

INSTANTIATE_TEST_SUITE_P(Decode, SplitsInto, testing::ValuesIn(table));

TEST(Split, RefusesWhatHasNoLength) {
  const char* refused[] = {"",
                           "66",
                           "48",
                           "0f",
                           "0f 38",
                           "e8 00 00 00",
                           "8b",
                           "8b 04",
                           "8b 05 00 00",
                           "c5 f8",
                           "c4 e2 79",
                           "62 f1 7c 48",
                           "8f",
                           "8f e9 78",
                           "66 e8 00 00 00 00",     // 16 bits on AMD, 32 on Intel
                           "66 e9 00 00 00 00",     //
                           "66 0f 84 00 00 00 00",  //
                           "48 66 e8 00 00 00 00",  // the REX prefix is ignored here
                           "66 c5 f8 77",           // prefixes that VEX excludes
                           "f2 c5 f8 77",
                           "f0 c5 f8 77",
                           "48 c5 f8 77",
                           "66 62 f1 7c 48 58 c1",
                           "48 62 f1 7c 48 58 c1",
                           "66 8f e9 78 02 c8",
                           "c4 e0 79 58 c1",     // map 0
                           "c4 e4 79 58 c1",     // map 4
                           "62 f4 7c 48 58 c1",  // map 4 (APX)
                           "62 f9 7c 48 58 c1",  // fixed bits
                           "62 f1 78 48 58 c1",
                           "8f eb 78 02 c8",  // map 11
                           "0f 04",
                           "0f 24 c0",
                           "0f 39 c0",
                           "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66",      // 15 bytes, and no opcode
                           "66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90"};  // 16 bytes
  for (const char* code : refused) {
    const auto got = split(from_hex(code));
    EXPECT_FALSE(got) << code;
    EXPECT_TRUE(got || got.error() == errc::undecodable_instruction) << code;
    EXPECT_FALSE(decode(from_hex(code))) << code;
  }
  for (const unsigned opcode : {0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37,
                                0x3f, 0x60, 0x61, 0x82, 0x9a, 0xce, 0xd4, 0xd5, 0xd6, 0xea}) {
    std::vector<std::uint8_t> code(16, 0);
    code[0] = static_cast<std::uint8_t>(opcode);
    EXPECT_FALSE(split(code)) << opcode;
  }
}

TEST(Decode, RefusesWhatIsNoInstruction) {
  const char* refused[] = {
      "f0 89 03",        // lock mov
      "f0 01 c0",        // lock add with a register destination
      "f0 03 03",        // lock add with a memory source
      "f0 83 3b 00",     // lock cmp
      "f0 90",           // lock nop
      "8d c0",           // lea with two registers
      "8f 20",           // group 1A /4
      "c6 c8 00",        // group 11 /1
      "fe d0",           // group 4 /2
      "ff f8",           // group 5 /7
      "ff d8",           // far call through a register
      "8c f0",           // Sreg 6
      "8e c8",           // mov to cs
      "d9 d1",           // x87 hole
      "f3 0f 28 c0",     // movaps behind f3
      "66 0f 77",        // emms behind 66
      "f2 0f 38 00 c0",  // pshufb behind f2
      "0f 13 c0",        // movlps to a register
      "0f 20 c8",        // CR1
      "0f ba c0 00",     // group 8 /0
      "0f c7 c8",        // cmpxchg8b with a register
      "66 0f ae f8",     // pcommit, withdrawn
      "0f 38 0c c0",
      "62 f1 7c 68 58 c1",  // vector length 3
      "62 f1 7c c8 58 c1",  // zeroing without a mask
  };
  for (const char* code : refused) {
    EXPECT_TRUE(split(from_hex(code))) << code;
    const auto got = decode(from_hex(code));
    EXPECT_FALSE(got) << code;
    EXPECT_TRUE(got || got.error() == errc::undecodable_instruction) << code;
  }
}

TEST(Decode, AcceptsWhatCapstoneDoesNotKnow) {
  const char* accepted[] = {
      "f3 0f 1e fa",        // endbr64
      "f3 48 0f 1e c8",     // rdsspq
      "f3 48 0f ae e8",     // incsspq
      "f3 0f 01 ea",        // saveprevssp
      "48 0f 38 f6 03",     // wrssq
      "66 48 0f 38 f5 03",  // wrussq
      "0f 01 e8",           // serialize
      "f3 0f 09",           // wbnoinvd
      "66 0f ae f0",        // tpause
      "f3 0f ae f0",        // umonitor
      "f2 0f ae f0",        // umwait
      "f3 48 0f ae e0",     // ptwrite
      "66 0f ae 33",        // clwb
      "0f 1c 03",           // cldemote
      "0f 38 f9 03",        // movdiri
      "66 0f 38 f8 03",     // movdir64b
      "f2 0f 38 f8 03",     // enqcmd
      "66 0f 38 cf c1",     // gf2p8mulb
      "0f 38 c8 c1",        // sha1nexte
      "0f b9 c0",           // ud1
      "0f ff c0",           // ud0
      "c4 e2 7d dc c1",     // vaesenc, 256 bits
      "c4 e3 7d 44 c1 11",  // vpclmulqdq, 256 bits
      "c4 e2 7d 50 c1",     // vpdpbusd
      "c4 e2 7d 5a 03",     // vbroadcasti128
      "c4 e1 fb 92 c8",     // kmovq
      "c4 e2 78 49 c0",     // tilerelease
      "62 f2 7d 48 dc c1",  // vaesenc, 512 bits
      "62 f5 7c 48 58 c1",  // vaddph
      "62 f1 7c 78 58 c1",  // rounding mode 3 where the vector length would be
  };
  for (const char* code : accepted) {
    const auto wanted = from_hex(code);
    const auto got = decode(wanted);
    ASSERT_TRUE(got) << code;
    EXPECT_EQ(got->length, wanted.size()) << code;
    EXPECT_EQ(ask_zydis(wanted).length, wanted.size()) << code;
  }
}

TEST(Decode, EveryThreadHasItsOwnCapstone) {
  std::vector<std::thread> threads;
  std::array<bool, 8> good{};
  for (bool& flag : good) {
    threads.emplace_back([&flag] {
      const auto x87 = from_hex("d9 ee");
      flag = static_cast<bool>(decode(x87));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(std::ranges::all_of(good, [](bool flag) { return flag; }));
}

// Legacy and REX prefixes.
bool is_prefix(std::uint8_t byte) {
  static constexpr std::uint8_t legacy[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
  return (byte & 0xf0) == 0x40 || std::ranges::find(legacy, byte) != std::end(legacy);
}

// ---- where Zydis 4.0 and decode() may differ about what exists
// ------------------------------------------------

// What decode() accepts and Zydis refuses.
bool known_surplus(const instruction& insn) {
  switch (insn.encoding) {
    case form::evex:
      return true;  // every opcode: AVX-512 grows faster than the tables of opcodes
    case form::vex:
      return true;  // Capstone ignores VEX.vvvv, L and W; instructions newer than Zydis 4.0
    case form::xop:
      return true;  // Capstone ignores XOP.vvvv, L and W
    case form::legacy:
      break;
  }
  // The MPX opcodes are no-operations on processors without MPX, which are all that are made now.
  if (insn.map == instruction::map_0f) return insn.opcode == 0x1a || insn.opcode == 0x1b;
  // Capstone takes this suffix; the APM has no such operation.
  return insn.map == instruction::map_3dnow && insn.opcode == 0x0e;
}

// What Zydis accepts and decode() refuses.
bool known_refusal(bytes code, ZydisMnemonic mnemonic) {
  bool operand_size = false;
  std::size_t at = 0;
  for (; at < code.size() && is_prefix(code[at]); ++at) operand_size |= code[at] == 0x66;
  const std::string_view name = ZydisMnemonicGetString(mnemonic);
  // Near branches behind 66: 32 bits on Intel, 16 bits on AMD.
  if (operand_size && (name.starts_with("j") || name == "call")) return true;
  // Knights Corner, a withdrawn coprocessor: MVEX, and the opcodes that only it had in VEX.
  if (code[at] == 0x62) return (code[at + 2] & 4) == 0;
  // Lightweight Profiling, which no processor since AMD's Zen has and Capstone never knew.
  if (code[at] == 0x8f) return name.starts_with("lwp") || name.ends_with("lwpcb");
  if (code[at] != 0xc4 && code[at] != 0xc5) return false;
  static constexpr std::string_view knights_corner[] = {
      "vprefetch", "kandnr", "kmerge", "kconcat", "kextract", "jkzd", "jknzd",
      "clevict",   "delay",  "spflt",  "popcnt",  "tzcnt",    "lzcnt"};
  return std::ranges::any_of(knights_corner, [&](std::string_view start) { return name.starts_with(start); });
}

struct comparison {
  long both = 0, neither = 0, surplus = 0, refused = 0;
};

void compare_with_zydis(bytes code, comparison& counts) {
  const auto ours = decode(code);
  const auto theirs = ask_zydis(code);
  if (ours && theirs.length != 0) {
    ++counts.both;
    ASSERT_EQ(ours->length, theirs.length) << to_hex(code);
    ASSERT_EQ(ours->rip_relative, theirs.rip_relative) << to_hex(code);
  } else if (ours) {
    ++counts.surplus;
    ASSERT_TRUE(known_surplus(*ours)) << to_hex(code);
  } else if (theirs.length != 0) {
    ++counts.refused;
    ASSERT_TRUE(known_refusal(code, theirs.mnemonic))
        << to_hex(code) << ZydisMnemonicGetString(theirs.mnemonic);
  } else {
    ++counts.neither;
  }
}

void print(const char* what, const comparison& counts) {
  std::printf("%s: both accept %ld, both refuse %ld, decode() alone accepts %ld, Zydis alone accepts %ld\n",
              what, counts.both, counts.neither, counts.surplus, counts.refused);
}

// Every opcode of the legacy maps with every ModRM, behind every mandatory prefix, with and without REX.W.
TEST(Decode, AgreesWithZydisOnEveryOpcodeAndModRm) {
  comparison counts;
  const std::vector<std::vector<std::uint8_t>> escapes = {{}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};
  const std::vector<std::vector<std::uint8_t>> prefixes = {
      {},           {0x66},       {0xf3},       {0xf2},       {0xf0},       {0x67},       {0x48},
      {0x66, 0x48}, {0xf3, 0x48}, {0xf2, 0x48}, {0xf0, 0x48}, {0x66, 0xf3}, {0x66, 0xf2}, {0x45}};
  for (const auto& escape : escapes) {
    for (const auto& prefix : prefixes) {
      for (unsigned opcode = 0; opcode < 256; ++opcode) {
        for (unsigned modrm = 0; modrm < 256; ++modrm) {
          for (const std::uint8_t sib : {std::uint8_t{0x08}, std::uint8_t{0x25}}) {
            std::vector<std::uint8_t> code = prefix;
            code.insert(code.end(), escape.begin(), escape.end());
            code.push_back(static_cast<std::uint8_t>(opcode));
            code.push_back(static_cast<std::uint8_t>(modrm));
            code.push_back(sib);
            code.resize(max_instruction_length, 0);
            compare_with_zydis(code, counts);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
  print("every opcode and ModRM", counts);
}

// ---- random bytes
// ------------------------------------------------------------------------------------------------

// Random bytes, half of them steered to prefixes and escapes, which chance alone would seldom combine.
void random_code(std::mt19937_64& random, std::array<std::uint8_t, 16>& code) {
  const std::uint64_t halves[2] = {random(), random()};
  std::memcpy(code.data(), halves, code.size());
  static constexpr std::uint8_t legacy_prefixes[] = {0x66, 0xf2, 0xf3, 0xf0, 0x67, 0x64, 0x2e, 0x48};
  const std::uint64_t choice = random();
  switch (choice % 8) {
    case 0:
      code[0] = 0x0f;
      break;
    case 1:
      code[0] = 0x62;
      code[1] = static_cast<std::uint8_t>(code[1] & ~8U);
      code[2] |= 4;
      break;
    case 2:
      code[0] = static_cast<std::uint8_t>(0xc4 + (choice >> 8 & 1));
      break;
    case 4:  // XOP
      code[0] = 0x8f;
      code[1] = static_cast<std::uint8_t>((code[1] & 0xe0U) | (8 + (choice >> 8) % 3));
      break;
    case 3:
      code[0] = legacy_prefixes[choice >> 8 & 7];
      code[1] = legacy_prefixes[choice >> 16 & 7];
      code[2] = (choice >> 24 & 1) != 0 ? 0x0f : code[2];
      break;
    default:
      break;
  }
}

TEST(Decode, AgreesWithZydisOnRandomBytes) {
  std::mt19937_64 random{20240607};
  std::array<std::uint8_t, 16> code;
  comparison counts;
  for (int i = 0; i < 1'000'000; ++i) {
    random_code(random, code);
    compare_with_zydis(bytes{code}.first(max_instruction_length), counts);
    if (HasFatalFailure()) return;
  }
  print("random bytes", counts);
}

TEST(Split, AgreesWithZydisOnRandomBytes) {
  std::mt19937_64 random{20240608};
  std::array<std::uint8_t, 16> code;
  for (int i = 0; i < 3'000'000; ++i) {
    random_code(random, code);
    const auto ours = split(code);
    const auto theirs = ask_zydis(bytes{code}.first(max_instruction_length));
    if (theirs.length == 0 || known_refusal(code, theirs.mnemonic)) continue;
    ASSERT_TRUE(ours) << to_hex(code) << ZydisMnemonicGetString(theirs.mnemonic);
    ASSERT_EQ(ours->length, theirs.length) << to_hex(code) << ZydisMnemonicGetString(theirs.mnemonic);
  }
}

// The bytes end where the next page cannot be read; an instruction is found when all of it is there, and only
// then.
TEST(Split, NeverReadsBeyondTheSpan) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const mapped = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  auto* const end = static_cast<std::uint8_t*>(mapped) + page;
  ASSERT_EQ(mprotect(end, page, PROT_NONE), 0);
  std::mt19937_64 random{20240609};
  std::array<std::uint8_t, 16> code;
  for (int i = 0; i < 200'000; ++i) {
    random_code(random, code);
    const auto whole = split(code);
    const auto whole_decoded = decode(code);
    for (std::size_t size = 0; size <= max_instruction_length; ++size) {
      std::memcpy(end - size, code.data(), size);
      const bytes cut{end - size, size};
      const auto part = split(cut);
      ASSERT_EQ(static_cast<bool>(part), whole && whole->length <= size) << to_hex(code) << size;
      ASSERT_TRUE(!part || part->length == whole->length) << to_hex(code) << size;
      const auto part_decoded = decode(cut);
      ASSERT_EQ(static_cast<bool>(part_decoded), whole_decoded && whole_decoded->length <= size)
          << to_hex(code) << size;
    }
  }
  munmap(mapped, 2 * page);
}

// ---- real libraries
// ------------------------------------------------------------------------------------------

struct function {
  std::string name;
  std::uint64_t address;
  std::uint64_t size;
};

// A library as it lies in its file: the bytes of its executable sections and its function symbols.
class library {
 public:
  explicit library(const std::string& soname) {
    void* const handle = dlopen(soname.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle == nullptr) return;
    link_map* map = nullptr;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0) path_ = map->l_name;
    read();
    dlclose(handle);
  }

  [[nodiscard]] bool found() const { return !sections_.empty(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::vector<function>& functions() const { return functions_; }

  // The bytes from the address to the end of its section.
  [[nodiscard]] bytes at(std::uint64_t address) const {
    for (const section& s : sections_) {
      if (address >= s.address && address < s.address + s.content.size()) {
        return bytes{s.content}.subspan(address - s.address);
      }
    }
    return {};
  }

 private:
  struct section {
    std::uint64_t address;
    std::vector<std::uint8_t> content;
  };

  void read() {
    elf_version(EV_CURRENT);
    const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    Elf* const elf = elf_begin(fd, ELF_C_READ, nullptr);
    std::map<std::uint64_t, function> by_address;
    for (Elf_Scn* scn = nullptr; (scn = elf_nextscn(elf, scn)) != nullptr;) {
      GElf_Shdr header;
      gelf_getshdr(scn, &header);
      if ((header.sh_flags & SHF_EXECINSTR) != 0 && header.sh_type == SHT_PROGBITS) {
        const Elf_Data* const data = elf_rawdata(scn, nullptr);
        const auto* const first = static_cast<const std::uint8_t*>(data->d_buf);
        sections_.push_back({header.sh_addr, {first, first + data->d_size}});
      } else if (header.sh_type == SHT_SYMTAB || header.sh_type == SHT_DYNSYM) {
        read_symbols(elf, scn, header, by_address);
      }
    }
    elf_end(elf);
    close(fd);
    for (auto& [address, f] : by_address) {
      if (at(address).size() >= f.size) functions_.push_back(f);
    }
  }

  static void read_symbols(Elf* elf, Elf_Scn* scn, const GElf_Shdr& header,
                           std::map<std::uint64_t, function>& by_address) {
    Elf_Data* const data = elf_getdata(scn, nullptr);
    for (int i = 0; i < static_cast<int>(header.sh_size / header.sh_entsize); ++i) {
      GElf_Sym symbol;
      gelf_getsym(data, i, &symbol);
      const int type = GELF_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_size == 0 || symbol.st_shndx == SHN_UNDEF)
        continue;
      by_address.try_emplace(symbol.st_value, function{elf_strptr(elf, header.sh_link, symbol.st_name),
                                                       symbol.st_value, symbol.st_size});
    }
  }

  std::string path_;
  std::vector<section> sections_;
  std::vector<function> functions_;
};

class Library : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    lib_ = std::make_unique<library>(GetParam());
    if (!lib_->found()) GTEST_SKIP() << GetParam() << " is not installed";
  }
  std::unique_ptr<library> lib_;
};

// Every instruction of every function, where Zydis finds the boundaries.
TEST_P(Library, EveryInstructionOfEveryFunction) {
  long instructions = 0, refused = 0, foreign = 0, functions = 0, stuck = 0;
  std::map<std::string, long> reasons;
  for (const function& f : lib_->functions()) {
    const bytes code = lib_->at(f.address).first(f.size);
    ++functions;
    for (std::size_t at = 0; at < code.size();) {
      const auto theirs = ask_zydis(code.subspan(at));
      if (theirs.length == 0) {
        ++foreign;
        ++at;
        continue;
      }
      const auto ours = decode(code.subspan(at));
      ++instructions;
      if (ours) {
        ASSERT_EQ(ours->length, theirs.length) << f.name << to_hex(code.subspan(at, theirs.length));
        ASSERT_EQ(ours->rip_relative, theirs.rip_relative)
            << f.name << to_hex(code.subspan(at, theirs.length));
      } else {
        ++refused;
        ++reasons[f.name + ": " + to_hex(code.subspan(at, theirs.length)) +
                  ZydisMnemonicGetString(theirs.mnemonic)];
      }
      at += theirs.length;
    }
    // What a user of decode() sees: a sweep from the function's start that has nowhere to go on.
    for (std::size_t at = 0; at < code.size();) {
      const auto ours = decode(code.subspan(at));
      if (!ours) {
        ++stuck;
        break;
      }
      at += ours->length;
    }
  }
  std::printf(
      "%s: %ld functions, %ld instructions, %ld bytes that Zydis does not know; decode() refuses %ld; "
      "%ld functions cannot be swept to the end\n",
      GetParam(), functions, instructions, foreign, refused, stuck);
  int shown = 0;
  for (const auto& [reason, count] : reasons) {
    if (++shown > 20) break;
    std::printf("  refused %ld times: %s\n", count, reason.c_str());
  }
  EXPECT_GT(functions, 100);
  EXPECT_LE(static_cast<double>(refused), 0.0005 * static_cast<double>(instructions));
}

struct pipe_closer {
  void operator()(std::FILE* pipe) const { pclose(pipe); }
};

// The whole text, where objdump finds the boundaries.
TEST_P(Library, LengthsAreThoseOfObjdump) {
  const std::string command = "objdump -d -w -z '" + lib_->path() + "' 2>/dev/null";
  const std::unique_ptr<std::FILE, pipe_closer> pipe{popen(command.c_str(), "re")};
  ASSERT_NE(pipe, nullptr);
  long instructions = 0, refused = 0, no_instruction = 0, composed = 0, different = 0;
  char line[512];
  while (std::fgets(line, sizeof line, pipe.get()) != nullptr) {
    // "  address:\tbytes\tmnemonic operands"
    char* const address_end = std::strstr(line, ":\t");
    char* const bytes_end = address_end != nullptr ? std::strchr(address_end + 2, '\t') : nullptr;
    if (bytes_end == nullptr) continue;
    *bytes_end = '\0';
    const std::string_view text{bytes_end + 1};
    const auto listed = from_hex(address_end + 2);
    if (text.starts_with("(bad)") || text.find("(bad)") != text.npos || text.starts_with(".byte")) {
      ++no_instruction;
      continue;
    }
    // objdump shows fwait and the x87 instruction behind it as one, and prefixes without an instruction by
    // themselves.
    const bool fwait = listed[0] == 0x9b && listed.size() > 1;
    const bool prefixes_alone = std::ranges::all_of(listed, is_prefix);
    if (fwait || prefixes_alone) {
      ++composed;
      continue;
    }
    const auto code = lib_->at(std::strtoull(line, nullptr, 16));
    const auto ours = decode(code);
    if (!ours && ask_zydis(code).length == 0) {
      // Tables in the text, which objdump goes through as if they were code: lock lods, mov to cs and the
      // like.
      ++no_instruction;
      continue;
    }
    ++instructions;
    if (!ours) {
      if (++refused <= 20) std::printf("  refused: %s %s", to_hex(listed).c_str(), bytes_end + 1);
    } else if (ours->length != listed.size()) {
      if (++different <= 20)
        std::printf("  %d bytes: %s %s", ours->length, to_hex(listed).c_str(), bytes_end + 1);
    }
  }
  if (instructions == 0) GTEST_SKIP() << "no objdump";
  std::printf(
      "%s: %ld instructions by objdump, decode() refuses %ld, gives %ld another length; "
      "not instructions %ld, not single instructions %ld\n",
      GetParam(), instructions, refused, different, no_instruction, composed);
  EXPECT_LE(static_cast<double>(refused), 0.0005 * static_cast<double>(instructions));
  EXPECT_EQ(different, 0);
}

INSTANTIATE_TEST_SUITE_P(Decode, Library,
                         testing::Values("libc.so.6", "libstdc++.so.6", "libcrypto.so.3", "libsqlite3.so.0"),
                         [](const auto& param) {
                           const std::string name = param.param;
                           return name.substr(0, name.find_first_of(".+"));
                         });

}  // namespace
