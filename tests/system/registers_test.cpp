// The register file at a hit: every register there and back, arguments, vector registers, red zone, flags.
#include <gmock/gmock.h>

#include <array>
#include <cstring>

#include "support/probing.hpp"

asm(R"(
        .text
        .p2align 4
# void registers_probe_all(struct file* f): loads all registers from f, passes the probed nop, stores them back.
# r15 keeps f, so it is compared in the handler alone. rsp stays.
        .type registers_probe_all, @function
registers_probe_all:
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rdi, %r15
        push    %rdi
        pushq   8*16(%r15)
        popfq
        mov     0(%r15), %rax
        mov     8(%r15), %rbx
        mov     16(%r15), %rcx
        mov     24(%r15), %rdx
        mov     32(%r15), %rsi
        mov     40(%r15), %rdi
        mov     48(%r15), %rbp
        mov     64(%r15), %r8
        mov     72(%r15), %r9
        mov     80(%r15), %r10
        mov     88(%r15), %r11
        mov     96(%r15), %r12
        mov     104(%r15), %r13
        mov     112(%r15), %r14
        .set    i, 0
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  144+16*\n(%r15), %xmm\n
        .endr
        # the red zone, above which the kernel must put its frame
        movq    $0x11223344, -8(%rsp)
        movq    $0x55667788, -128(%rsp)
        .globl  registers_probe_all_here
registers_probe_all_here:
        nopl    (%rax)
        .globl  registers_probe_all_copied
registers_probe_all_copied:
        movaps  %xmm0, %xmm0
        mov     %rax, 0(%r15)
        mov     %rbx, 8(%r15)
        mov     %rcx, 16(%r15)
        mov     %rdx, 24(%r15)
        mov     %rsi, 32(%r15)
        mov     %rdi, 40(%r15)
        mov     %rbp, 48(%r15)
        mov     %r8, 64(%r15)
        mov     %r9, 72(%r15)
        mov     %r10, 80(%r15)
        mov     %r11, 88(%r15)
        mov     %r12, 96(%r15)
        mov     %r13, 104(%r15)
        mov     %r14, 112(%r15)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        movups  %xmm\n, 144+16*\n(%r15)
        .endr
        mov     -8(%rsp), %rax
        mov     %rax, 144+16*16(%r15)
        mov     -128(%rsp), %rax
        mov     %rax, 144+16*16+8(%r15)
        pushfq
        popq    8*16(%r15)
        cld
        pop     %rdi
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        ret
        .size registers_probe_all, .-registers_probe_all

# void registers_probe_ymm(void* in_and_out): 16 ymm registers there and back
        .type registers_probe_ymm, @function
registers_probe_ymm:
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovups 32*\n(%rdi), %ymm\n
        .endr
        .globl  registers_probe_ymm_here
registers_probe_ymm_here:
        nopl    (%rax)
        .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
        vmovups %ymm\n, 32*\n(%rdi)
        .endr
        vzeroupper
        ret
        .size registers_probe_ymm, .-registers_probe_ymm

# void registers_probe_clean_xmm(void* out): a hit while the vector state is as after start
        .type registers_probe_clean_xmm, @function
registers_probe_clean_xmm:
        .globl  registers_probe_clean_xmm_here
registers_probe_clean_xmm_here:
        nopl    (%rax)
        movups  %xmm5, (%rdi)
        ret
        .size registers_probe_clean_xmm, .-registers_probe_clean_xmm
)");

namespace {
struct file {
  std::uint64_t general[18];  // as in struct registers
  std::uint8_t xmm[16][16];
  std::uint64_t red_zone[2];
};
}  // namespace

extern "C" {
void registers_probe_all(file*);
void registers_probe_ymm(void*);
void registers_probe_clean_xmm(void*);
extern const char registers_probe_all_here[], registers_probe_all_copied[], registers_probe_ymm_here[],
    registers_probe_clean_xmm_here[];
}

namespace libprobe {
namespace {

static_assert(offsetof(registers, rflags) == 17 * 8 && offsetof(registers, rdi) == 5 * 8);

constexpr std::uint64_t arithmetic_flags = 0x8d5;  // OF SF ZF AF PF CF

file pattern(std::uint64_t seed) {
  file f{};
  for (std::size_t i = 0; i < 16; ++i) f.general[i] = seed * 0x9e3779b97f4a7c15 + i * 0x0101010101010101;
  f.general[16] = 0x202 | (seed * 0x135 & arithmetic_flags) | ((seed & 1) != 0 ? 0x400 : 0);  // DF, too
  for (std::size_t i = 0; i < 16; ++i) std::memset(f.xmm[i], static_cast<int>(seed * 16 + i), 16);
  return f;
}

file seen;
int see(probe&, registers& regs) {
  std::memcpy(seen.general, &regs, sizeof seen.general);
  for (std::size_t i = 0; i < 16; ++i) std::memcpy(seen.xmm[i], std::as_const(regs).xmm(i), 16);
  // What a handler does to its own registers is nobody's business.
  asm volatile("pcmpeqb %%xmm0, %%xmm0\n\tpcmpeqb %%xmm15, %%xmm15" ::: "xmm0", "xmm15");
  return 0;
}

void compare_general(const file& a, const file& b) {
  for (std::size_t i = 0; i < 15; ++i) {
    if (i == 7) continue;  // rsp
    EXPECT_EQ(a.general[i], b.general[i]) << "register " << i;
  }
}

TEST(Registers, AreAllSeenAndAllKept) {
  for (const char* where : {registers_probe_all_here, registers_probe_all_copied}) {
    for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
      for (std::uint64_t seed = 1; seed < 20; ++seed) {
        probe p{.at = static_cast<const void*>(where), .pre_handler = see, .flags = flags};
        ASSERT_FALSE(register_probe(p));
        const file before = pattern(seed);
        file f = before;
        registers_probe_all(&f);
        ASSERT_EQ(hits(p), 1U);
        compare_general(seen, before);
        EXPECT_EQ(seen.general[15], reinterpret_cast<std::uint64_t>(&f));
        EXPECT_EQ(seen.general[16], reinterpret_cast<std::uint64_t>(where)) << "rip";
        EXPECT_EQ(seen.general[17] & (arithmetic_flags | 0x400),
                  before.general[16] & (arithmetic_flags | 0x400));
        EXPECT_EQ(std::memcmp(seen.xmm, before.xmm, sizeof seen.xmm), 0);
        compare_general(f, before);
        EXPECT_EQ(f.general[16] & (arithmetic_flags | 0x400),
                  before.general[16] & (arithmetic_flags | 0x400));
        EXPECT_EQ(std::memcmp(f.xmm, before.xmm, sizeof f.xmm), 0);
        EXPECT_THAT(f.red_zone, testing::ElementsAre(0x11223344U, 0x55667788U));
      }
    }
  }
}

file wanted;
int change(probe&, registers& regs) {
  auto* general = reinterpret_cast<std::uint64_t*>(&regs);
  for (std::size_t i = 0; i < 15; ++i) {
    if (i != 7) general[i] = wanted.general[i];
  }
  regs.rflags =
      (regs.rflags & ~(arithmetic_flags | 0x400)) | (wanted.general[16] & (arithmetic_flags | 0x400));
  for (std::size_t i = 0; i < 16; ++i) std::memcpy(regs.xmm(i), wanted.xmm[i], 16);
  return 0;
}
void change_after(probe& p, registers& regs) { change(p, regs); }

TEST(Registers, AreAllChangedFromEitherHandler) {
  for (const char* where : {registers_probe_all_here, registers_probe_all_copied}) {
    for (const bool after : {false, true}) {
      for (std::uint64_t seed = 1; seed < 20; ++seed) {
        probe p{.at = static_cast<const void*>(where),
                .pre_handler = after ? nullptr : change,
                .post_handler = after ? change_after : nullptr};
        ASSERT_FALSE(register_probe(p));
        wanted = pattern(seed + 100);
        file f = pattern(seed);
        registers_probe_all(&f);
        compare_general(f, wanted);
        EXPECT_EQ(f.general[16] & (arithmetic_flags | 0x400),
                  wanted.general[16] & (arithmetic_flags | 0x400));
        EXPECT_EQ(std::memcmp(f.xmm, wanted.xmm, sizeof f.xmm), 0);
        EXPECT_THAT(f.red_zone, testing::ElementsAre(0x11223344U, 0x55667788U));
      }
    }
  }
}

std::array<std::uint8_t, 512> ymm_pattern(int seed) {
  std::array<std::uint8_t, 512> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7 + i / 16 + seed);
  return bytes;
}

TEST(VectorRegisters, KeepTheirUpperHalvesAcrossAHit) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP();
  probe p{.at = static_cast<const void*>(registers_probe_ymm_here), .pre_handler = [](probe&, registers&) {
            asm volatile("vpxor %%xmm3, %%xmm3, %%xmm3\n\tvzeroupper" ::: "xmm3");
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  const auto before = ymm_pattern(1);
  auto now = before;
  registers_probe_ymm(now.data());
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(now, before);
}

TEST(VectorRegisters, UpperHalvesAreReadAndWritten) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP();
  static const auto before = ymm_pattern(2);
  probe p{.at = static_cast<const void*>(registers_probe_ymm_here),
          .pre_handler = [](probe&, registers& regs) {
            for (std::size_t i = 0; i < 16; ++i) {
              EXPECT_EQ(std::memcmp(regs.xmm(i), &before[32 * i], 16), 0) << i;
              EXPECT_EQ(std::memcmp(regs.ymm_upper(i), &before[32 * i + 16], 16), 0) << i;
              std::memset(regs.xmm(i), static_cast<int>(i), 16);
              std::memset(regs.ymm_upper(i), static_cast<int>(0xf0 | i), 16);
            }
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  auto now = before;
  registers_probe_ymm(now.data());
  for (std::size_t i = 0; i < now.size(); ++i) {
    ASSERT_EQ(now[i], i % 32 < 16 ? i / 32 : 0xf0 | (i / 32)) << i;
  }
}

TEST(VectorRegisters, AreWrittenEvenWhenTheProgramHasNotUsedThem) {
  probe p{.at = static_cast<const void*>(registers_probe_clean_xmm_here),
          .pre_handler = [](probe&, registers& regs) {
            std::memset(regs.xmm(5), 0x5a, 16);
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  std::array<std::uint8_t, 16> out{};
  asm volatile("vzeroall" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
  registers_probe_clean_xmm(out.data());
  EXPECT_THAT(out, testing::Each(0x5a));
}

using many = long(long, long, long, long, long, long, long, long);
[[gnu::noinline]] long sum(long a, long b, long c, long d, long e, long f, long g, long h) {
  return test::opaque(a) + 10 * b + 100 * c + 1000 * d + 10000 * e + 100000 * f + 1000000 * g + 10000000 * h;
}
[[gnu::noinline]] double mix(int a, double x, const char* s, float y, double z, unsigned char c) {
  return test::opaque(a) + x + static_cast<double>(s[0]) + static_cast<double>(y) + z + c;
}
[[gnu::noinline]] double nine(double a, double b, double c, double d, double e, double f, double g, double h,
                              double i) {
  return test::opaque(a) + b + c + d + e + f + g + h + 100 * i;
}

TEST(Arguments, AreReadAndSetByTheirClass) {
  probe p{.at = &mix, .pre_handler = [](probe&, registers& regs) {
            EXPECT_EQ(regs.argument<int>(0), -1);
            EXPECT_STREQ(regs.argument<const char*>(1), "A");
            EXPECT_EQ(regs.argument<unsigned char>(2), 200);
            EXPECT_EQ(regs.argument<double>(0), 0.5);
            EXPECT_EQ(regs.argument<float>(1), 0.25F);
            EXPECT_EQ(regs.argument<double>(2), 4.0);
            regs.set_argument(0, -2);
            regs.set_argument(1, "B");
            regs.set_argument<unsigned char>(2, 100);
            regs.set_argument(0, 1.5);
            regs.set_argument(1, 1.25F);
            regs.set_argument(2, 5.0);
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(mix(-1, 0.5, "A", 0.25F, 4.0, 200), -2 + 1.5 + 'B' + 1.25 + 5.0 + 100);
}

TEST(Arguments, OnTheStackToo) {
  probe integers{.at = &sum, .pre_handler = [](probe&, registers& regs) {
                   for (std::size_t n = 0; n < 8; ++n) {
                     EXPECT_EQ(regs.argument<long>(n), static_cast<long>(n) + 1);
                     regs.set_argument<long>(n, 9 - static_cast<long>(n));
                   }
                   return 0;
                 }};
  probe doubles{.at = &nine, .pre_handler = [](probe&, registers& regs) {
                  EXPECT_EQ(regs.argument<double>(7), 8.0);
                  EXPECT_EQ(regs.argument<double>(8), 9.0);
                  regs.set_argument(8, 0.5);
                  return 0;
                }};
  ASSERT_FALSE(register_probe(integers));
  ASSERT_FALSE(register_probe(doubles));
  EXPECT_EQ(sum(1, 2, 3, 4, 5, 6, 7, 8), 23456789);
  EXPECT_EQ(nine(1, 2, 3, 4, 5, 6, 7, 8, 9), 86.0);
}

}  // namespace
}  // namespace libprobe
