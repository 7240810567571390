// Emulated register forms against the CPU: arithmetic, mov, lea, and what does nothing.
#include <algorithm>

#include "support/hardware_test.hpp"

namespace {

using namespace hardware;

/// Operand width with its prefixes. Byte operands come with and without REX: ah or spl.
struct width {
  unsigned size;
  bool rex;
};
constexpr width widths[] = {{1, false}, {1, true}, {2, false}, {4, false}, {8, true}};

/// prefixes opcode modrm, registers only. Empty where the register cannot be named without REX.
bytes encode(width w, unsigned opcode, unsigned reg, unsigned rm) {
  bytes code;
  const bool rex = w.rex || reg > 7 || rm > 7;
  if (w.size == 1 && !w.rex && rex) return {};
  if (w.size == 2) code.push_back(0x66);
  if (rex) code.push_back(byte(0x40U | (w.size == 8 ? 8U : 0U) | (reg > 7 ? 4U : 0U) | (rm > 7 ? 1U : 0U)));
  code.push_back(byte(opcode | (w.size == 1 ? 0U : 1U)));
  code.push_back(byte(0xc0U | (reg & 7) << 3 | (rm & 7)));
  return code;
}

class Arithmetic : public forms_test {};

constexpr const char* group[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};

// Both operands from every register, in both directions.
TEST_F(Arithmetic, EveryPairOfRegisters) {
  for (unsigned operation = 0; operation < 10; ++operation) {
    for (const auto& w : widths) {
      for (unsigned pair = 0; pair < 256; ++pair) {
        for (const unsigned reversed : {0U, 2U}) {
          if (operation == 8 && reversed != 0) continue;  // test has no other direction
          const unsigned opcode = operation < 8    ? operation * 8 + reversed
                                  : operation == 8 ? 0x84
                                                   : 0x88 + reversed;
          const auto code = encode(w, opcode, pair >> 4, pair & 15);
          if (!code.empty()) add(operation < 8 ? group[operation] : operation == 8 ? "test" : "mov", code, 2);
        }
      }
    }
  }
  const way plain[] = {way::plain};
  const auto sum = run("register, register", plain);
  EXPECT_EQ(sum.methods[1], 0U);
}

// A sample of them in every way, among them those with rsp.
TEST_F(Arithmetic, EveryWay) {
  for (unsigned operation = 0; operation < 10; ++operation) {
    for (const auto& w : widths) {
      for (unsigned i = 0; i < 10; ++i) {
        const auto r = static_cast<unsigned>(random_());
        const unsigned opcode = operation < 8    ? operation * 8 + (r & 2)
                                : operation == 8 ? 0x84
                                                 : 0x88 + (r & 2);
        const auto code = encode(w, opcode, i == 0 ? 4 : r >> 8 & 15, i == 1 ? 4 : r >> 16 & 15);
        if (!code.empty()) add(operation < 8 ? group[operation] : operation == 8 ? "test" : "mov", code, 4);
      }
    }
  }
  run("register, register");
}

// adc and sbb read a flag, and everything writes all of them: every combination before, boundary values for
// operands.
TEST_F(Arithmetic, EveryFlagAndBoundary) {
  constexpr std::uint64_t values[] = {0,
                                      1,
                                      0x7f,
                                      0x80,
                                      0xff,
                                      0x7fff,
                                      0x8000,
                                      0x7fff'ffff,
                                      0x8000'0000,
                                      0x7fff'ffff'ffff'ffff,
                                      0x8000'0000'0000'0000,
                                      ~std::uint64_t{0}};
  for (unsigned operation = 0; operation < 9; ++operation) {
    for (const auto& w : widths) {
      auto& s = add(operation < 8 ? group[operation] : "test",
                    encode(w, operation < 8 ? operation * 8 : 0x84, rcx, rdx), 0);
      for (unsigned i = 0; i < 128 + 2 * std::size(values) * std::size(values); ++i) {
        auto t = random_trial(random_);
        if (i < 128) {
          t.in.rflags = flag_combination(i);
        } else {
          const unsigned n = (i - 128) / 2;
          t.in.gpr[rdx] = values[n / std::size(values)];
          t.in.gpr[rcx] = values[n % std::size(values)];
          t.in.rflags = fixed_flags | (i & 1);
        }
        s.trials.push_back(t);
      }
    }
  }
  const way plain[] = {way::plain};
  run("flags and boundaries", plain);
}

TEST_F(Arithmetic, Immediates) {
  constexpr std::int64_t values[] = {0,      1,       -1,          0x7f,           -0x80,      0x80,
                                     0x7fff, -0x8000, 0x7fff'ffff, -0x8000'0000LL, 0x5a5a'5a5a};
  for (const auto& w : widths) {
    for (const std::int64_t value : values) {
      const auto immediate = static_cast<std::uint64_t>(value);
      const unsigned size = std::min(w.size, 4U);
      const auto with = [&](const char* name, const bytes& without, unsigned immediate_size) {
        if (without.empty()) return;
        bytes code = without;
        append(code, immediate, immediate_size);
        add(name, code, 3);
      };
      for (unsigned rm = 0; rm < 16; ++rm) {
        for (unsigned op = 0; op < 8; ++op) {
          if ((rm + op + immediate) % 4 != 0) continue;  // a quarter of the product
          with(group[op], encode(w, 0x80, op, rm), size);
          if (w.size > 1) {
            auto code = encode(w, 0x80, op, rm);
            code[code.size() - 2] = 0x83;
            with(group[op], code, 1);
          }
        }
        with("mov", encode(w, 0xc6, 0, rm), size);
        with("test", encode(w, 0xf6, 0, rm), size);
        auto code = encode(w, 0xb0, 0, rm);
        if (code.empty()) continue;
        code.pop_back();
        code.back() = byte((w.size == 1 ? 0xb0U : 0xb8U) | (rm & 7));
        with("mov", code, w.size);
      }
      for (unsigned op = 0; op < 9; ++op) {
        auto code = encode(w, op < 8 ? op * 8 + 4 : 0xa8, 0, 0);
        code.pop_back();
        with(op < 8 ? group[op] : "test", code, size);
      }
    }
  }
  run("register, immediate");
}

TEST_F(Arithmetic, LoadAddress) {
  for (int i = 0; i < 6000; ++i) {
    const auto r = random_();
    bytes code;
    if ((r & 3) == 0) code.push_back(0x66);
    const bool short_address = (r >> 2 & 3) == 0;
    if (short_address) code.push_back(0x67);
    if ((r >> 4 & 15) == 0) code.push_back(0x64);  // a segment means nothing to lea
    const auto rex = byte(0x40 | (r >> 8 & 15));
    if (rex != 0x40) code.push_back(rex);
    code.push_back(0x8d);
    const unsigned mod = (r >> 12) % 3;
    const unsigned rm = (r >> 24 & 3) == 0 ? r >> 16 & 7 : 4;
    if (short_address && mod == 0 && rm == 5) continue;  // eip-relative is refused
    code.push_back(byte(mod << 6 | (r >> 19 & 7) << 3 | rm));
    const auto sib = byte(r >> 32);
    if (rm == 4) code.push_back(sib);
    const bool base32 = mod == 0 && (rm == 5 || (rm == 4 && (sib & 7) == 5));
    append(code, r >> 40, mod == 1 ? 1 : mod == 2 || base32 ? 4 : 0);
    add("lea", code, 2);
  }
  const auto sum = run("lea");
  EXPECT_EQ(sum.methods[1], 0U);
}

TEST_F(Arithmetic, Nothing) {
  const bytes forms[] = {{0x90},
                         {0x66, 0x90},
                         {0x48, 0x90},
                         {0xf3, 0x90},
                         {0x66, 0x66, 0x2e, 0x90},
                         {0x67, 0x90},
                         {0x0f, 0x1f, 0x00},
                         {0x0f, 0x1f, 0x40, 0x00},
                         {0x0f, 0x1f, 0x44, 0x00, 0x00},
                         {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
                         {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
                         {0x0f, 0x1f, 0x84, 0x00, 0, 0, 0, 0},
                         {0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0, 0, 0, 0},
                         {0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0x00, 0, 0, 0, 0},
                         {0x0f, 0x1f, 0x05, 0, 0, 0, 0x70},
                         {0x41, 0x0f, 0x1f, 0xc0},
                         {0xf3, 0x0f, 0x1e, 0xfa},
                         {0xf3, 0x0f, 0x1e, 0xfb},
                         // neighbours that are no such things
                         {0x41, 0x90},
                         {0xf3, 0x41, 0x90},
                         {0xf3, 0x48, 0x0f, 0x1e, 0xc8},
                         {0x0f, 0x19, 0xc0}};
  for (const auto& code : forms) add("nop", code, 8);
  run("nop");
}

}  // namespace
