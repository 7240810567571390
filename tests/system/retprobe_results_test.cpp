// Results of every kind come through a return slot and a handler that uses every register. Built by each
// compiler, with and without optimisation.
#include <immintrin.h>

#include <cmath>
#include <complex>
#include <string>

#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::opaque;

struct two_integers {
  long a, b;
  bool operator==(const two_integers&) const = default;
};
struct mixed {
  long a;
  double b;
  bool operator==(const mixed&) const = default;
};
struct mixed_the_other_way {
  double a;
  long b;
  bool operator==(const mixed_the_other_way&) const = default;
};
struct two_floats {
  double a, b;
  bool operator==(const two_floats&) const = default;
};
struct in_memory {
  long a[7];
  bool operator==(const in_memory&) const = default;
};
struct small {
  char a;
  short b;
  bool operator==(const small&) const = default;
};

[[gnu::noinline]] void nothing(long& x) { x = opaque(x) + 1; }
[[gnu::noinline]] bool yes(int x) { return opaque(x) != 0; }
[[gnu::noinline]] signed char letter(int x) { return static_cast<signed char>(opaque(x)); }
[[gnu::noinline]] __int128 wide(long x) { return (static_cast<__int128>(opaque(x)) << 64) + x; }
[[gnu::noinline]] float single(float x) { return std::sqrt(x * 2); }
[[gnu::noinline]] double twice(double x) { return x * 2; }
[[gnu::noinline]] long double extended(long double x) { return x / 3; }
[[gnu::noinline]] std::complex<long double> two_extended(long double x) { return {x / 3, x / 7}; }
[[gnu::noinline]] std::complex<float> packed(float x) { return {x, -x}; }
[[gnu::noinline]] two_integers integers(long x) { return {opaque(x), -x}; }
[[gnu::noinline]] mixed integer_and_float(long x) { return {opaque(x), static_cast<double>(x) / 2}; }
[[gnu::noinline]] mixed_the_other_way float_and_integer(long x) {
  return {static_cast<double>(opaque(x)) / 2, x};
}
[[gnu::noinline]] two_floats floats(double x) { return {x, -x}; }
[[gnu::noinline]] small little(int x) { return {static_cast<char>(opaque(x)), static_cast<short>(-x)}; }
[[gnu::noinline]] in_memory big(long x) { return {{opaque(x), x + 1, x + 2, x + 3, x + 4, x + 5, x + 6}}; }
[[gnu::noinline]] std::string text(int x) { return std::string(static_cast<std::size_t>(opaque(x)), 'x'); }
[[gnu::noinline]] __m128d vector(double x) { return _mm_set_pd(x, -x); }
[[gnu::noinline, gnu::target("avx")]] __m256d wide_vector(double x) {
  return _mm256_set_pd(x, x + 1, x + 2, x + 3);
}

/// Leaves nothing of what a function may clobber.
void clobber(retprobe_instance& i, registers&) {
  asm volatile(
      "mov $-1, %%rax\n mov %%rax, %%rcx\n mov %%rax, %%rdx\n mov %%rax, %%rsi\n mov %%rax, %%rdi\n"
      "mov %%rax, %%r8\n mov %%rax, %%r9\n mov %%rax, %%r10\n mov %%rax, %%r11\n"
      "movq %%rax, %%xmm0\n movddup %%xmm0, %%xmm1\n movaps %%xmm1, %%xmm2\n movaps %%xmm1, %%xmm3\n"
      "movaps %%xmm1, %%xmm4\n movaps %%xmm1, %%xmm5\n movaps %%xmm1, %%xmm6\n movaps %%xmm1, %%xmm7\n"
      "movaps %%xmm1, %%xmm8\n movaps %%xmm1, %%xmm15\n"
      "fld1\n fld1\n fldpi\n fstp %%st(0)\n fstp %%st(0)\n fstp %%st(0)\n" ::
          : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3",
            "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm15", "cc");
  ++*static_cast<int*>(i.probe().context);
}
[[gnu::target("avx")]] void clobber_upper_halves(retprobe_instance& i, registers& regs) {
  clobber(i, regs);
  asm volatile("vzeroall" ::
                   : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

/// Without and with a return probe the function gives the same, call after call.
template <class R, class... A>
void expect_same(R (*function)(A...), A... arguments) {
  const R expected = opaque(function)(arguments...);
  int count = 0;
  retprobe p{.at = function,
             .handler = __builtin_cpu_supports("avx") != 0 ? clobber_upper_halves : clobber,
             .context = &count};
  ASSERT_FALSE(register_retprobe(p));
  for (int i = 1; i <= 10; ++i) {
    const R result = opaque(function)(arguments...);
    EXPECT_TRUE(result == expected);
    EXPECT_EQ(count, i);
  }
}

TEST(Results, OfNoType) {
  long x = 0;
  int count = 0;
  retprobe p{.at = &nothing, .handler = clobber, .context = &count};
  ASSERT_FALSE(register_retprobe(p));
  for (int i = 0; i < 10; ++i) nothing(x);
  EXPECT_EQ(x, 10);
  EXPECT_EQ(count, 10);
}

TEST(Results, Integers) {
  expect_same(&yes, 1);
  expect_same(&yes, 0);
  expect_same(&letter, -7);
  expect_same(&wide, 0x1234567890L);
  expect_same(&integers, 5L);
  expect_same(&little, 77);
}

TEST(Results, Floats) {
  expect_same(&single, 1.5F);
  expect_same(&twice, 1e300);
  expect_same(&floats, 2.5);
  expect_same(&packed, 2.5F);
}

TEST(Results, OnTheX87Stack) {
  expect_same(&extended, 1e4000L);
  expect_same(&two_extended, 1e-4000L);
}

TEST(Results, InRegistersOfTwoKinds) {
  expect_same(&integer_and_float, 9L);
  expect_same(&float_and_integer, 9L);
}

TEST(Results, InMemory) {
  expect_same(&big, 3L);
  expect_same(&text, 3);
  expect_same(&text, 300);
}

TEST(Results, Vectors) {
  int count = 0;
  retprobe p{.at = &vector, .handler = clobber, .context = &count};
  ASSERT_FALSE(register_retprobe(p));
  const auto value = opaque(&vector)(3.0);
  EXPECT_EQ(_mm_cvtsd_f64(value), -3.0);
  EXPECT_EQ(_mm_cvtsd_f64(_mm_unpackhi_pd(value, value)), 3.0);
  EXPECT_EQ(count, 1);
}

[[gnu::target("avx")]] void wide_vectors() {
  int count = 0;
  retprobe p{.at = &wide_vector, .handler = clobber_upper_halves, .context = &count};
  ASSERT_FALSE(register_retprobe(p));
  alignas(32) double got[4];
  _mm256_store_pd(got, opaque(&wide_vector)(3.0));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(got[i], 6.0 - i);
  EXPECT_EQ(count, 1);
}
TEST(Results, WideVectors) {
  if (__builtin_cpu_supports("avx") == 0) GTEST_SKIP() << "no AVX here";
  wide_vectors();
}

TEST(Results, AreReadAndChangedByHandlers) {
  retprobe p{.at = &twice, .handler = [](retprobe_instance&, registers& regs) {
               regs.set_return_value(regs.return_value<double>() + 0.5);
             }};
  retprobe q{.at = &single, .handler = [](retprobe_instance&, registers& regs) {
               regs.set_return_value(regs.return_value<float>() + 1);
             }};
  retprobe r{.at = &integer_and_float, .handler = [](retprobe_instance&, registers& regs) {
               regs.rax = 40;
               regs.set_return_value(4.5);
             }};
  for (auto* one : {&p, &q, &r}) ASSERT_FALSE(register_retprobe(*one));
  EXPECT_EQ(twice(opaque(1.0)), 2.5);
  EXPECT_EQ(single(opaque(2.0F)), 3.0F);
  EXPECT_EQ(integer_and_float(1), (mixed{40, 4.5}));
}

}  // namespace
}  // namespace libprobe
