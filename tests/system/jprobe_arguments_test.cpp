// Arguments of every kind reach a jprobe's handler and the function, whatever the handler does to its own.
#include <immintrin.h>

#include <complex>
#include <cstdarg>
#include <tuple>

#include "support/probing.hpp"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace libprobe {
namespace {

using test::opaque;

/// A struct by value: up to 16 bytes in registers, above on the stack.
template <std::size_t Size>
struct block {
  unsigned char bytes[Size];
  bool operator==(const block&) const = default;
};
template <std::size_t Size>
block<Size> numbered() {
  block<Size> made;
  for (std::size_t i = 0; i < Size; ++i) made.bytes[i] = static_cast<unsigned char>(7 * i + Size);
  return made;
}
struct mixed {
  double x;
  long n;
  bool operator==(const mixed&) const = default;
};
struct alignas(64) over_aligned {
  long numbers[8];
  bool operator==(const over_aligned&) const = default;
};

template <class T>
void scribble(T& argument) {
  std::memset(static_cast<void*>(&argument), 0xa5, sizeof argument);
  asm volatile("" ::"r"(&argument) : "memory");
}
/// The argument area above a handler's frame, used or not.
[[gnu::always_inline]] inline void scribble_above() {
  auto* const area = static_cast<volatile std::uint64_t*>(__builtin_frame_address(0)) + 2;
  for (int i = 0; i < 100; ++i) area[i] = 0xa5a5a5a5a5a5a5a5;
}

/// A function of the given parameters, and a handler of the same.
template <class... A>
struct observed_call {
  static inline const std::tuple<A...>* wanted = nullptr;
  static inline int right_in_function = 0;
  static inline int right_in_handler = 0;

  [[gnu::noinline]] static long subject(A... arguments) {
    if (std::tuple<A...>{arguments...} == *wanted) ++right_in_function;
    return opaque(42L);
  }
  [[gnu::noinline]] static void entry(A... arguments) {
    if (std::tuple<A...>{arguments...} == *wanted) ++right_in_handler;
    (scribble(arguments), ...);
    scribble_above();
  }
  static void check(A... arguments) {
    const std::tuple<A...> values{arguments...};
    wanted = &values;
    right_in_function = right_in_handler = 0;
    jprobe p{.at = &subject, .entry = reinterpret_cast<void*>(&entry), .stack_bytes = 16384};
    ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
    EXPECT_EQ(opaque(&subject)(arguments...), 42);
    EXPECT_EQ(opaque(&subject)(arguments...), 42);
    EXPECT_EQ(right_in_handler, 2);
    EXPECT_EQ(right_in_function, 2);
    EXPECT_EQ(hits(p), 2U);
    unregister_jprobe(p);
    EXPECT_EQ(opaque(&subject)(arguments...), 42);
    EXPECT_EQ(right_in_handler, 2);
  }
};
template <class... A>
void check(A... arguments) {
  observed_call<A...>::check(arguments...);
}

TEST(JprobeArguments, IntegersInRegistersAndOnTheStack) {
  check(-1);
  check('c', short{-2}, 3, -4L, true, std::uint8_t{200});
  check(1, 2L, 3, 4L, 5, 6L, 7, 8L, 9, 10L, 11, 12L, 13, 14L, 15, 16L);
}

TEST(JprobeArguments, FloatsInRegistersAndOnTheStack) {
  check(1.5F, -2.25);
  check(1.0, 2.0F, 3.0, 4.0F, 5.0, 6.0F, 7.0, 8.0F, 9.0, 10.0F, 11.0, 12.0F);
  check(1.25L);
  check(1, 1.25L, 2.0, -7.5L, 3, 4, 5, 6, 7, 8, 9.5L);
}

TEST(JprobeArguments, MoreThanSixAndEightMixed) {
  check(1, 1.5, 2L, 2.5F, 3, 3.5, 4L, 4.5F, 5, 5.5, 6L, 6.5F, 7, 7.5, 8L, 8.5F, 9, 9.5, 10L, 10.5F, "text",
        nullptr, 11.5L);
}

TEST(JprobeArguments, StructsOfManySizes) {
  check(numbered<1>(), numbered<2>(), numbered<3>());
  check(numbered<4>(), numbered<5>(), numbered<7>());
  check(numbered<8>(), numbered<9>(), numbered<12>(), numbered<15>(), numbered<16>());
  check(numbered<17>(), 1, numbered<24>(), 2.0, numbered<31>());
  check(numbered<32>(), numbered<33>(), 5L, numbered<64>());
  check(numbered<100>(), 1, numbered<255>(), 2.0F, numbered<1000>());
  check(1, 2, 3, 4, 5, 6, 7, numbered<4096>(), 8, numbered<3000>(), 9.5);
}

TEST(JprobeArguments, StructsOfBothClassesAndOverAligned) {
  check(mixed{1.5, -3}, 1, mixed{2.5, 4}, std::complex<double>{1, 2}, std::complex<float>{3, 4});
  check(1, over_aligned{{1, 2, 3, 4, 5, 6, 7, 8}}, 2.0, over_aligned{{9, 8, 7, 6, 5, 4, 3, 2}}, 1.5L, 'x');
}

// ---- variadic functions

std::string seen;
int print_entry(char* to, std::size_t size, const char* format, ...) {
  char text[200];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  seen = text;
  scribble(to);
  scribble(size);
  scribble_above();
  return 0;
}

TEST(JprobeArguments, VariadicAsPrintf) {
  jprobe p{.at = "libc.so.6:snprintf", .entry = reinterpret_cast<void*>(&print_entry)};
  ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
  char text[200];
  for (int i = 0; i < 2; ++i) {
    std::snprintf(text, sizeof text, "%d %s %.2f %ld %Lf %d %d %g %g %g %g %g %g %g %g %c", opaque(i), "two",
                  3.25, 4L, 5.5L, 6, 7, 1., 2., 3., 4., 5., 6., 7., 8., 'z');
    const std::string wanted = std::to_string(i) + " two 3.25 4 5.500000 6 7 1 2 3 4 5 6 7 8 z";
    EXPECT_EQ(seen, wanted);
    EXPECT_EQ(text, wanted);
  }
  EXPECT_EQ(hits(p), 2U);
  unregister_jprobe(p);
}

// ---- vectors

#define WITH(target_name) [[gnu::target(target_name), gnu::noinline]]

int vectors_right = 0;

[[gnu::noinline]] long m128_subject(__m128i a, __m128 b, __m128d c, int n, __m128i d, __m128i e, __m128i f,
                                    __m128i g, __m128i h, __m128i on_stack) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(opaque(&on_stack)) % 16 == 0;
  return aligned ? n + _mm_cvtsi128_si64(a) + static_cast<long>(b[1]) + static_cast<long>(c[1]) + d[1] +
                       e[1] + f[1] + g[1] + h[1] + on_stack[0] * 1000 + on_stack[1]
                 : -1;
}
long m128_entry(__m128i a, __m128 b, __m128d c, int n, __m128i d, __m128i e, __m128i f, __m128i g, __m128i h,
                __m128i on_stack) {
  if (_mm_cvtsi128_si64(a) + static_cast<long>(b[1] + c[1]) + n + d[1] + e[1] + f[1] + g[1] + h[1] == 45 &&
      on_stack[0] == 57) {
    ++vectors_right;
  }
  scribble(on_stack);
  scribble_above();
  asm volatile("pxor %%xmm0, %%xmm0; pxor %%xmm7, %%xmm7; pxor %%xmm15, %%xmm15" ::: "xmm0", "xmm7", "xmm15");
  return 0;
}

TEST(JprobeArguments, M128) {
  jprobe p{.at = &m128_subject, .entry = reinterpret_cast<void*>(&m128_entry)};
  ASSERT_FALSE(register_jprobe(p));
  vectors_right = 0;
  const auto of = [](long low, long high) { return _mm_set_epi64x(high, low); };
  const auto got = opaque(&m128_subject)(of(1, 0), _mm_set_ps(0, 0, 2, 0), _mm_set_pd(3, 0), 4, of(0, 5),
                                         of(0, 6), of(0, 7), of(0, 8), of(0, 9), of(57, 0));
  EXPECT_EQ(got, 57045);
  EXPECT_EQ(vectors_right, 1);
  EXPECT_EQ(hits(p), 1U);
  unregister_jprobe(p);
}

WITH("avx")
long m256_subject(__m256d a, __m256d b, __m256d c, __m256d d, __m256d e, __m256d f, __m256d g, __m256d h,
                  int n, __m256d on_stack, double last, __m256d more) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(opaque(&on_stack)) % 32 == 0 &&
                       reinterpret_cast<std::uintptr_t>(opaque(&more)) % 32 == 0;
  const double sum =
      a[3] + b[3] + c[3] + d[3] + e[3] + f[3] + g[3] + h[3] + on_stack[0] + on_stack[3] + last + more[2];
  return aligned ? static_cast<long>(sum) + n : -1;
}
WITH("avx")
long m256_entry(__m256d a, __m256d b, __m256d c, __m256d d, __m256d e, __m256d f, __m256d g, __m256d h, int n,
                __m256d on_stack, double, __m256d more) {
  if (a[3] + b[3] + c[3] + d[3] + e[3] + f[3] + g[3] + h[3] + n == 45 && on_stack[0] == 100 &&
      more[2] == 1000)
    ++vectors_right;
  scribble(on_stack);
  scribble(more);
  scribble_above();
  _mm256_zeroall();
  return 0;
}
WITH("avx") __m256d of(double low, double high) { return _mm256_set_pd(high, 0, 0, low); }
WITH("avx") long call_m256() {
  return opaque(&m256_subject)(of(0, 1), of(0, 2), of(0, 3), of(0, 4), of(0, 5), of(0, 6), of(0, 7), of(0, 8),
                               9, of(100, 200), 300, _mm256_set_pd(0, 1000, 0, 0));
}

TEST(JprobeArguments, M256) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "no AVX";
  jprobe p{.at = &m256_subject, .entry = reinterpret_cast<void*>(&m256_entry)};
  ASSERT_FALSE(register_jprobe(p));
  vectors_right = 0;
  EXPECT_EQ(call_m256(), 1645);
  EXPECT_EQ(vectors_right, 1);
  unregister_jprobe(p);
}

WITH("avx512f")
long m512_subject(__m512d a, __m512d b, __m512d c, __m512d d, __m512d e, __m512d f, __m512d g, __m512d h,
                  char n, __m512d on_stack) {
  const bool aligned = reinterpret_cast<std::uintptr_t>(opaque(&on_stack)) % 64 == 0;
  const double sum = a[7] + b[6] + c[5] + d[4] + e[7] + f[7] + g[7] + h[7] + on_stack[0] + on_stack[7];
  return aligned ? static_cast<long>(sum) + n : -1;
}
WITH("avx512f")
long m512_entry(__m512d a, __m512d b, __m512d c, __m512d d, __m512d e, __m512d f, __m512d g, __m512d h,
                char n, __m512d on_stack) {
  if (a[7] + b[6] + c[5] + d[4] + e[7] + f[7] + g[7] + h[7] + n == 45 && on_stack[7] == 200) ++vectors_right;
  scribble(on_stack);
  scribble_above();
  _mm256_zeroall();
  return 0;
}
WITH("avx512f") long call_m512() {
  return opaque(&m512_subject)(_mm512_set1_pd(1), _mm512_set1_pd(2), _mm512_set1_pd(3), _mm512_set1_pd(4),
                               _mm512_set1_pd(5), _mm512_set1_pd(6), _mm512_set1_pd(7), _mm512_set1_pd(8), 9,
                               _mm512_set_pd(200, 0, 0, 0, 0, 0, 0, 100));
}

TEST(JprobeArguments, M512) {
  if (!__builtin_cpu_supports("avx512f")) GTEST_SKIP() << "no AVX-512";
  jprobe p{.at = &m512_subject, .entry = reinterpret_cast<void*>(&m512_entry)};
  ASSERT_FALSE(register_jprobe(p));
  vectors_right = 0;
  EXPECT_EQ(call_m512(), 345);
  EXPECT_EQ(vectors_right, 1);
  unregister_jprobe(p);
}

}  // namespace
}  // namespace libprobe
