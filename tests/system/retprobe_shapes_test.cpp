// Functions of every shape under a return probe: what their first instruction is, how they end, who they
// leave the work to, and what their callers expect to keep.
#include <array>

#include "support/retprobing.hpp"

extern "C" {
// The formatter never comes to an end with these.
// clang-format off
#define SHAPES(X)                                                                                  \
  X(jmp_short) X(jmp_near) X(jmp_indirect) X(jcc) X(jrcxz) X(loop) X(call) X(call_function)        \
  X(call_indirect) X(push) X(sub_rsp) X(endbr) X(rip_relative) X(compare_rip)                      \
  X(reads_the_return_address) X(plain)
// clang-format on
#define DECLARE(name) long shape_##name(long);
SHAPES(DECLARE)
long shape_calls_ret_imm(long);
long shape_ret_imm(long);
long shape_ret();
long shape_rep_ret();
long shape_flags();
long shape_calls_flags();
std::uint64_t keeps_everything(void (*)());
std::uint64_t keeps_upper_halves(void (*)());
void keeps_nothing_to_do();
}

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

struct shape {
  const char* name;
  long (*function)(long);
};
#define ROW(name) shape{#name, shape_##name},
constexpr std::array shapes{SHAPES(ROW)};

class Shape : public testing::TestWithParam<shape> {};
INSTANTIATE_TEST_SUITE_P(First, Shape, testing::ValuesIn(shapes),
                         [](const auto& test) { return std::string(test.param.name); });

TEST_P(Shape, Alone) {
  const auto& [name, function] = GetParam();
  followed p{function};
  for (long x = 1; x <= 20; ++x) EXPECT_EQ(opaque(function)(x), x + 1);
  EXPECT_EQ(p.returns(), 20U);
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_TRUE(p.balanced());
}

TEST_P(Shape, WithAPostHandler) {
  // Both an instruction's end and the call's end are waited for.
  const auto& [name, function] = GetParam();
  int after = 0;
  probe k{.at = function,
          .post_handler = [](probe& self, registers&) { ++*static_cast<int*>(self.context); },
          .context = &after};
  followed p{function};
  ASSERT_FALSE(register_probe(k));
  for (long x = 1; x <= 20; ++x) EXPECT_EQ(opaque(function)(x), x + 1);
  EXPECT_EQ(p.returns(), 20U);
  EXPECT_EQ(after, 20);
  EXPECT_TRUE(p.balanced());
}

TEST_P(Shape, InOrdinaryContext) {
  const auto& [name, function] = GetParam();
  jprobe j{.at = function, .entry = reinterpret_cast<void*>(+[](long) {})};
  followed p{function};
  ASSERT_FALSE(register_jprobe(j));
  for (long x = 1; x <= 20; ++x) EXPECT_EQ(opaque(function)(x), x + 1);
  EXPECT_EQ(p.returns(), 20U);
  EXPECT_EQ(hits(j), 20U);
  EXPECT_TRUE(p.balanced());
}

TEST(Shapes, AllAtOnce) {
  std::vector<std::unique_ptr<followed>> all;
  for (const auto& s : shapes) all.emplace_back(new followed{s.function});
  for (const auto& s : shapes) EXPECT_EQ(opaque(s.function)(5), 6) << s.name;
  for (std::size_t i = 0; i < shapes.size(); ++i) EXPECT_TRUE(all[i]->balanced()) << shapes[i].name;
  EXPECT_EQ(all.back()->returns(), 5U) << "by itself, by two jumps and by two calls";
}

TEST(Shapes, NothingButARet) {
  followed p{&shape_ret}, q{&shape_rep_ret};
  for (int i = 0; i < 10; ++i) {
    opaque (&shape_ret)();
    opaque (&shape_rep_ret)();
  }
  EXPECT_EQ(p.returns(), 10U);
  EXPECT_EQ(q.returns(), 10U);
}

TEST(Shapes, ARetWithAPostHandler) {
  int after = 0;
  probe k{.at = &shape_ret,
          .post_handler = [](probe& self, registers&) { ++*static_cast<int*>(self.context); },
          .context = &after};
  followed p{&shape_ret};
  ASSERT_FALSE(register_probe(k));
  for (int i = 0; i < 10; ++i) opaque (&shape_ret)();
  EXPECT_EQ(p.returns(), 10U);
  EXPECT_EQ(after, 10);
}

TEST(Shapes, ARetThatTakesArgumentsAway) {
  followed p{&shape_ret_imm}, q{&shape_calls_ret_imm};
  for (long x = 1; x <= 10; ++x) EXPECT_EQ(shape_calls_ret_imm(x), x + 1);
  EXPECT_EQ(p.returns(), 10U);
  EXPECT_EQ(q.returns(), 10U);
  EXPECT_TRUE(p.balanced() && q.balanced());
}

TEST(Shapes, FlagsGoInAndComeOut) {
  EXPECT_EQ(shape_calls_flags(), 2);
  followed p{&shape_flags};
  EXPECT_EQ(shape_calls_flags(), 2);
  jprobe j{.at = &shape_flags, .entry = reinterpret_cast<void*>(+[] {})};
  ASSERT_FALSE(register_jprobe(j));
  EXPECT_EQ(shape_calls_flags(), 2);
  EXPECT_EQ(p.returns(), 2U);
}

/// A handler that uses all that the ABI lets it.
void clobber(retprobe_instance&, registers&) {
  asm volatile(
      "xor %%eax, %%eax\n xor %%ecx, %%ecx\n xor %%edx, %%edx\n xor %%esi, %%esi\n xor %%edi, %%edi\n"
      "xor %%r8d, %%r8d\n xor %%r9d, %%r9d\n xor %%r10d, %%r10d\n xor %%r11d, %%r11d\n"
      "pxor %%xmm0, %%xmm0\n pxor %%xmm1, %%xmm1\n pxor %%xmm2, %%xmm2\n pxor %%xmm3, %%xmm3\n"
      "pxor %%xmm4, %%xmm4\n pxor %%xmm5, %%xmm5\n pxor %%xmm6, %%xmm6\n pxor %%xmm7, %%xmm7\n"
      "pxor %%xmm8, %%xmm8\n pxor %%xmm9, %%xmm9\n pxor %%xmm10, %%xmm10\n pxor %%xmm11, %%xmm11\n"
      "pxor %%xmm12, %%xmm12\n pxor %%xmm13, %%xmm13\n pxor %%xmm14, %%xmm14\n pxor %%xmm15, %%xmm15\n" ::
          : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3",
            "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
            "xmm15", "cc");
}
int clobber_at_entry(retprobe_instance& i, registers& regs) {
  clobber(i, regs);
  return 0;
}

TEST(Callers, KeepEveryRegisterThatTheFunctionLeavesAlone) {
  // As gcc's -fipa-ra lets callers of local functions do.
  const bool avx = __builtin_cpu_supports("avx") != 0;
  ASSERT_EQ(keeps_everything(&keeps_nothing_to_do), 0U);
  retprobe p{.at = &keeps_nothing_to_do, .handler = clobber, .entry_handler = clobber_at_entry};
  ASSERT_FALSE(register_retprobe(p));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(keeps_everything(&keeps_nothing_to_do), 0U);
    ASSERT_TRUE(!avx || keeps_upper_halves(&keeps_nothing_to_do) == 0);
  }
  jprobe j{.at = &keeps_nothing_to_do, .entry = reinterpret_cast<void*>(+[] {
                                         retprobe_instance* const none = nullptr;
                                         registers regs{};
                                         clobber(*none, regs);
                                       })};
  ASSERT_FALSE(register_jprobe(j));
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(keeps_everything(&keeps_nothing_to_do), 0U);
    ASSERT_TRUE(!avx || keeps_upper_halves(&keeps_nothing_to_do) == 0);
  }
  EXPECT_EQ(hits(p), avx ? 400U : 200U);
}

/// Tail calls: the one that jumps and the one that is jumped to.
TEST(TailCalls, OnlyTheJumpingOneFollowed) {
  followed f{&shape_jmp_near};
  for (long x = 1; x <= 10; ++x) EXPECT_EQ(shape_jmp_near(x), x + 1);
  EXPECT_EQ(f.returns(), 10U);
  EXPECT_TRUE(f.balanced());
}
TEST(TailCalls, OnlyTheOtherFollowed) {
  followed g{&shape_plain};
  for (long x = 1; x <= 10; ++x) EXPECT_EQ(shape_jmp_near(x), x + 1);
  EXPECT_EQ(g.returns(), 10U);
  EXPECT_TRUE(g.balanced());
}
TEST(TailCalls, BothFollowed) {
  followed g{&shape_plain, 1}, f{&shape_jmp_near, 1};
  for (long x = 1; x <= 100; ++x) {
    EXPECT_EQ(shape_jmp_near(x), x + 1);
    EXPECT_EQ(shape_plain(x), x + 1);
  }
  EXPECT_EQ(f.returns(), 100U);
  EXPECT_EQ(g.returns(), 200U);
  EXPECT_EQ(f.missed() + g.missed(), 0U);
  EXPECT_TRUE(f.balanced() && g.balanced());
}

}  // namespace
}  // namespace libprobe
