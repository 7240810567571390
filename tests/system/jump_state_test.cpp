// The whole state of the CPU is as without the probe, whatever a handler behind a jump does with it: general
// registers, flags, the red zone, x87 with a full stack, MXCSR, vector registers to their full width, masks.
#include <cpuid.h>
#include <gmock/gmock.h>

#include <cctype>
#include <cstdio>
#include <cstring>
#include <random>

#include "jump_state_handlers.hpp"
#include "support/jumping.hpp"

namespace {
constexpr std::size_t extended_size = 4096;
struct alignas(64) state {
  std::uint64_t general[16];  // as in struct registers; the eighth (rsp) is not looked at
  std::uint64_t flags;
  std::uint64_t red_zone[16];
  std::uint64_t unused[7];
  std::uint8_t extended[extended_size];  // as XSAVE lays it out
};
static_assert(offsetof(state, extended) == 320 && offsetof(state, red_zone) == 136);
}  // namespace

extern "C" {
void state_at_instruction(const state*, state*);
void state_at_call(const state*, state*);
void state_callee();
extern const std::uint8_t state_site[];
}

namespace libprobe {
namespace {

constexpr std::uint64_t checked_flags = 0xcd5;  // DF OF SF ZF AF PF CF
constexpr std::uint64_t direction = 0x400;

struct component {
  std::size_t offset, size;
  const char* name;
};

/// What this CPU and kernel keep of it, in the standard layout.
std::vector<component> components() {
  // Legacy area: FCW to FDP, MXCSR (its mask is constant), the x87 and the xmm registers. The bytes after are
  // nobody's.
  std::vector<component> all{{0, 5, "x87 control, status, tags"}, {6, 18, "x87 pointers"}, {24, 4, "MXCSR"}};
  for (std::size_t i = 0; i < 8; ++i) all.push_back({32 + 16 * i, 10, "st"});
  all.push_back({160, 256, "xmm"});
  unsigned xcr0 = 0, high = 0;
  asm volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
  const char* const names[] = {"x87", "xmm",   "upper halves of ymm", "",
                               "",    "masks", "upper halves of zmm", "zmm16-31"};
  for (unsigned i : {2U, 5U, 6U, 7U}) {
    if ((xcr0 >> i & 1U) == 0) continue;
    unsigned size = 0, offset = 0, c = 0, d = 0;
    __cpuid_count(0xd, i, size, offset, c, d);
    EXPECT_LE(offset + size, extended_size);
    all.push_back({offset, size, names[i]});
  }
  return all;
}

/// All components in use, with random content.
state some_state(std::uint64_t seed) {
  std::mt19937_64 random{seed};
  state made{};
  for (auto& word : made.general) word = random();
  for (auto& word : made.red_zone) word = random();
  made.flags = 0x202;
  const std::uint64_t bits[] = {0x1, 0x4, 0x10, 0x40, 0x80, 0x800, direction};
  for (std::size_t i = 0; i < std::size(bits); ++i) made.flags |= (seed >> i & 1U) != 0 ? bits[i] : 0;
  std::uint64_t used = 3;
  for (const auto& c : components()) {
    for (std::size_t i = 0; i < c.size; ++i)
      made.extended[c.offset + i] = static_cast<std::uint8_t>(random());
    if (c.offset >= 576) {
      for (const unsigned i : {2U, 5U, 6U, 7U}) {
        unsigned size = 0, offset = 0, x = 0, d = 0;
        __cpuid_count(0xd, i, size, offset, x, d);
        if (offset == c.offset) used |= std::uint64_t{1} << i;
      }
    }
  }
  const std::uint16_t x87[] = {0x37f,
                               static_cast<std::uint16_t>((seed & 7) << 11 | 0x4700 * (seed >> 3 & 1))};
  std::memcpy(&made.extended[0], x87, sizeof x87);
  made.extended[4] = 0xff;  // no register of the stack is free
  std::memset(&made.extended[6], 0, 18);
  const std::uint32_t mxcsr =
      0x1f80 | (random() & 0x3f) | (seed % 5 == 0 ? 0x8040 : 0) | (random() % 4) << 13;
  std::memcpy(&made.extended[24], &mxcsr, sizeof mxcsr);
  std::memcpy(&made.extended[512], &used, sizeof used);
  return made;
}

const char* const general_names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp",
                                     "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

void compare(const state& is, const state& should, bool red_zone) {
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 7) continue;
    EXPECT_EQ(is.general[i], should.general[i]) << general_names[i];
  }
  EXPECT_EQ(is.flags & checked_flags, should.flags & checked_flags) << "flags";
  if (red_zone) {
    EXPECT_THAT(is.red_zone, testing::ElementsAreArray(should.red_zone));
  }
  for (const auto& c : components()) {
    for (std::size_t i = 0; i < c.size; ++i) {
      ASSERT_EQ(is.extended[c.offset + i], should.extended[c.offset + i]) << c.name << ", byte " << i;
    }
  }
}

// ---- handlers: what they do, and what they change through `registers`

void use_nothing(registers&) {}

volatile float half = 0.5F;
void use_sse(registers&) {
  half = half / 3.0F + 0.25F;  // inexact
  asm volatile(
      ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
      "pcmpeqb %%xmm\\n, %%xmm\\n\n\t"
      ".endr" ::
          : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
            "xmm12", "xmm13", "xmm14", "xmm15");
}

char from[400] = "the text that is copied", to[400];
void* (*volatile copy)(void*, const void*, std::size_t) = std::memcpy;
std::size_t (*volatile length)(const char*) = std::strlen;
int (*volatile print)(char*, std::size_t, const char*, ...) = std::snprintf;
void use_libc(registers&) {
  copy(to, from, sizeof to);
  to[length(from)] = 0;
  print(to, sizeof to, "%d %s", 17, "words");
}
void use_libc_floats(registers&) { print(to, sizeof to, "%f %Lf", static_cast<double>(half), 1.5L); }

volatile long double wide = 1.25L;
void use_x87(registers&) { wide = wide * 1.5L / 3.0L + 1.0L; }
[[gnu::noinline]] void multiply() { wide = wide * 1.5L / 3.0L + 1.0L; }
void (*volatile multiply_later)() = multiply;
void use_x87_indirectly(registers&) { multiply_later(); }

volatile long whole = 3;
[[gnu::target("general-regs-only")]] void use_integers(registers& regs) {
  whole = whole * 7 + static_cast<long>(regs.rdi);
  regs.rdi ^= 0xff;
}

void use_xmm(registers& regs) {
  for (std::size_t i = 0; i < 16; i += 2) std::memset(regs.xmm(i), static_cast<int>(0x30 + i), 16);
}
std::uint8_t* upper(state& s) {
  unsigned size = 0, offset = 0, c = 0, d = 0;
  __cpuid_count(0xd, 2, size, offset, c, d);
  return &s.extended[offset];
}
void use_ymm(registers& regs) {
  for (std::size_t i = 0; i < 16; i += 3) {
    auto* const high = static_cast<std::uint8_t*>(regs.ymm_upper(i));
    std::memcpy(high, regs.xmm(i), 16);
    std::memset(regs.xmm(i), static_cast<int>(i), 8);
  }
}

void use_avx(registers&) { state_use_avx(); }
void use_avx512(registers&) { state_use_avx512(); }

// ---- the four ways to such a handler

/// What a kind of handler does, what it needs, and what it changes through `registers`.
struct kind {
  const char* name;
  int (*pre)(probe&, registers&);
  void (*post)(probe&, registers&);
  int (*entry)(retprobe_instance&, registers&);
  void (*ret)(retprobe_instance&, registers&);
  bool supported = true;
  void (*expect)(state&) = [](state&) {};
  probe_flags flags = probe_flags::none;
};

/// Handlers of their own for each, since their code is read.
template <void (*Work)(registers&)>
kind by(const char* name, bool supported = true) {
  return {.name = name,
          .pre =
              [](probe&, registers& regs) {
                Work(regs);
                return 0;
              },
          .post = [](probe&, registers& regs) { Work(regs); },
          .entry =
              [](retprobe_instance&, registers& regs) {
                Work(regs);
                return 0;
              },
          .ret = [](retprobe_instance&, registers& regs) { Work(regs); },
          .supported = supported};
}

std::vector<kind> kinds() {
  auto integers = by<use_integers>("integers");
  integers.flags = probe_flags::general_regs_only;
  integers.expect = [](state& s) { s.general[5] ^= 0xff; };
  auto xmm = by<use_xmm>("xmm, written");
  xmm.expect = [](state& s) {
    for (std::size_t i = 0; i < 16; i += 2)
      std::memset(&s.extended[160 + 16 * i], static_cast<int>(0x30 + i), 16);
  };
  auto ymm = by<use_ymm>("ymm, read and written", __builtin_cpu_supports("avx") != 0);
  ymm.expect = [](state& s) {
    for (std::size_t i = 0; i < 16; i += 3) {
      auto* const low = &s.extended[160 + 16 * i];
      std::memcpy(upper(s) + 16 * i, low, 16);
      std::memset(low, static_cast<int>(i), 8);
    }
  };
  return {by<use_nothing>("nothing"),
          by<use_sse>("SSE"),
          by<use_avx>("AVX", __builtin_cpu_supports("avx2") != 0),
          by<use_avx512>("AVX-512", __builtin_cpu_supports("avx512f") != 0 &&
                                        __builtin_cpu_supports("avx512bw") != 0 &&
                                        __builtin_cpu_supports("avx512dq") != 0 &&
                                        __builtin_cpu_supports("avx512vl") != 0),
          by<use_libc>("libc"),
          by<use_libc_floats>("libc's floats"),
          by<use_x87>("x87"),
          by<use_x87_indirectly>("x87 behind a pointer"),
          integers,
          xmm,
          ymm};
}

class ExactState : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override {
    if (!GetParam().supported) GTEST_SKIP() << "not this CPU";
  }
  /// `changes`: how often the handler's kind has its effect in one pass.
  static void check(void (*pass)(const state*, state*), int changes, bool red_zone) {
    const test::no_trap_survives guard;
    for (std::uint64_t seed = 0; seed < 128; ++seed) {
      SCOPED_TRACE(seed);
      const auto in = some_state(seed);
      state out{};
      pass(&in, &out);
      auto should = in;
      for (int i = 0; i < changes; ++i) GetParam().expect(should);
      compare(out, should, red_zone);
      if (HasFailure()) return;
    }
  }
  static void expect_jump(const void* at) {
    const auto row = test::row_at(at);
    ASSERT_TRUE(row.jump) << row.reason;
  }
};

/// The test's own means: without a probe all is as it was, of course.
TEST(State, IsWhatWasPutInPlace) {
  for (std::uint64_t seed = 0; seed < 128; ++seed) {
    for (const bool call : {false, true}) {
      const auto in = some_state(seed);
      state out{};
      (call ? state_at_call : state_at_instruction)(&in, &out);
      compare(out, in, !call);
      if (HasFailure()) return;
    }
  }
}

TEST_P(ExactState, AroundAPreHandler) {
  probe p{
      .at = static_cast<const void*>(state_site), .pre_handler = GetParam().pre, .flags = GetParam().flags};
  ASSERT_FALSE(register_probe(p));
  expect_jump(state_site);
  check(state_at_instruction, 1, true);
}

TEST_P(ExactState, AroundAPostHandler) {
  probe p{
      .at = static_cast<const void*>(state_site), .post_handler = GetParam().post, .flags = GetParam().flags};
  ASSERT_FALSE(register_probe(p));
  expect_jump(state_site);
  check(state_at_instruction, 1, true);
}

TEST_P(ExactState, AroundBothAndAnotherProbeThatUsesNothing) {
  probe other{.at = static_cast<const void*>(state_site), .pre_handler = test::just_count};
  probe p{.at = static_cast<const void*>(state_site),
          .pre_handler = GetParam().pre,
          .post_handler = GetParam().post,
          .flags = GetParam().flags};
  ASSERT_FALSE(register_probe(other));
  ASSERT_FALSE(register_probe(p));
  expect_jump(state_site);
  check(state_at_instruction, 2, true);
}

TEST_P(ExactState, AroundARetprobesEntryHandler) {
  retprobe p{.at = &state_callee, .entry_handler = GetParam().entry, .flags = GetParam().flags};
  ASSERT_FALSE(register_retprobe(p));
  expect_jump(test::code_of(state_callee));
  check(state_at_call, 1, false);
}

TEST_P(ExactState, AroundARetprobesHandler) {
  retprobe p{.at = &state_callee, .handler = GetParam().ret, .flags = GetParam().flags};
  ASSERT_FALSE(register_retprobe(p));
  expect_jump(test::code_of(state_callee));
  check(state_at_call, 1, false);
}

TEST_P(ExactState, AroundBothOfARetprobesHandlers) {
  retprobe p{.at = &state_callee,
             .handler = GetParam().ret,
             .entry_handler = GetParam().entry,
             .flags = GetParam().flags};
  ASSERT_FALSE(register_retprobe(p));
  expect_jump(test::code_of(state_callee));
  check(state_at_call, 2, false);
  EXPECT_EQ(hits(p), 128U);
}

INSTANTIATE_TEST_SUITE_P(Handlers, ExactState, testing::ValuesIn(kinds()), [](const auto& which) {
  std::string name;
  for (const char* c = which.param.name; *c != '\0'; ++c) {
    if (std::isalnum(static_cast<unsigned char>(*c)) != 0) name += *c;
  }
  return name;
});

void PrintTo(const kind& k, std::ostream* out) { *out << k.name; }

}  // namespace
}  // namespace libprobe
