// Results of every kind go through replace() and on_return(), and where each comes back is known exactly.
#include <gmock/gmock.h>
#include <immintrin.h>

#include <complex>
#include <memory>
#include <string>
#include <utility>

#include "support/probing.hpp"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace libprobe {
namespace {

using test::opaque;
using enum result_registers;

template <class R>
struct of {};

enum class color : short { red = 1, blue = 40 };
struct none_at_all {};
struct three_chars {
  char c[3];
  bool operator==(const three_chars&) const = default;
};
template <class A, class B>
struct two {
  A a;
  B b;
  bool operator==(const two&) const = default;
};
struct four_floats {
  float f[4];
  bool operator==(const four_floats&) const = default;
};
struct three_longs {
  long n[3];
  bool operator==(const three_longs&) const = default;
};
struct one_long_double {
  long double x;
  bool operator==(const one_long_double&) const = default;
};
struct [[gnu::packed]] unaligned {
  char c;
  long n;
  bool operator==(const unaligned& other) const { return c == other.c && n == other.n; }
};
union either {
  long n;
  double x;
  bool operator==(const either& other) const { return n == other.n; }
};
struct alignas(32) wide_but_in_memory {
  long n[4];
  bool operator==(const wide_but_in_memory&) const = default;
};
using quad = __int128;

template <class R>
requires std::is_arithmetic_v<R> R make(of<R>, int n) { return static_cast<R>(n * 37 + 1); }
bool make(of<bool>, int n) { return n % 2 == 0; }
quad make(of<quad>, int n) { return (quad{n} << 70) + n; }
color make(of<color>, int n) { return n == 3 ? color::blue : color::red; }
const char* make(of<const char*>, int n) { return &"0123456789abcdef"[n]; }
template <class T>
std::complex<T> make(of<std::complex<T>>, int n) {
  return {static_cast<T>(n), static_cast<T>(-2 * n)};
}
template <class A, class B>
two<A, B> make(of<two<A, B>>, int n) {
  return {static_cast<A>(n), static_cast<B>(5 * n)};
}
std::pair<long, double> make(of<std::pair<long, double>>, int n) { return {n, n / 2.0}; }
three_chars make(of<three_chars>, int n) { return {{'a', static_cast<char>(n), 'c'}}; }
four_floats make(of<four_floats>, int n) { return {{1.0F * n, 2.0F * n, 3.0F * n, 4.0F * n}}; }
three_longs make(of<three_longs>, int n) { return {{n, 2L * n, 3L * n}}; }
one_long_double make(of<one_long_double>, int n) { return {1.25L * n}; }
unaligned make(of<unaligned>, int n) { return {'u', n}; }
either make(of<either>, int n) { return {.n = n}; }
wide_but_in_memory make(of<wide_but_in_memory>, int n) { return {{n, 2, 3, 4L * n}}; }
std::string make(of<std::string>, int n) { return std::string(static_cast<std::size_t>(10 * n), 'x'); }
std::unique_ptr<int> make(of<std::unique_ptr<int>>, int n) { return std::make_unique<int>(n); }

template <class R>
bool same(const R& a, const R& b) {
  return a == b;
}
bool same(const std::unique_ptr<int>& a, const std::unique_ptr<int>& b) { return *a == *b; }

template <class R>
[[gnu::noinline]] R subject(int n) {
  return make(of<R>{}, opaque(n));
}

template <class R>
void check(result_registers expected) {
  EXPECT_EQ(detail::result_registers_of<R>(), expected)
      << static_cast<unsigned>(detail::result_registers_of<R>());
  const auto call = [](int n) { return opaque(&subject<R>)(n); };
  const R three = call(3);
  {
    const scoped_probe never = replace(&subject<R>, [](auto, int n) -> R { return make(of<R>{}, n + 6); });
    EXPECT_TRUE(same(call(3), make(of<R>{}, 9)));
  }
  {
    const scoped_probe once = replace(&subject<R>, [](auto original, int n) -> R { return original(n); });
    EXPECT_TRUE(same(call(3), three));
    EXPECT_EQ(once.hits(), 1U);
  }
  {
    const scoped_probe twice = replace(&subject<R>, [](auto original, int n) -> R {
      static_cast<void>(original(n + 1));
      return original(n + 2);
    });
    EXPECT_TRUE(same(call(3), make(of<R>{}, 5)));
    const scoped_probe again = on_entry(&subject<R>, [](int n) { EXPECT_EQ(n, 4); });
    EXPECT_TRUE(same(call(4), make(of<R>{}, 6)));
    EXPECT_EQ(again.hits(), 1U);
  }
  int entered = 0;
  const scoped_probe at_entry = on_entry(&subject<R>, [&](int n) { entered += n; });
  EXPECT_TRUE(same(call(3), three));
  EXPECT_EQ(entered, 3);
}

/// The same for results that on_return() takes.
template <class R>
void check_returned(result_registers expected) {
  check<R>(expected);
  int seen = 0;
  const scoped_probe p =
      on_return(&subject<R>, [&](R result) { seen += same(result, make(of<R>{}, 3)) ? 1 : 0; });
  EXPECT_TRUE(same(opaque(&subject<R>)(3), make(of<R>{}, 3)));
  EXPECT_TRUE(same(opaque(&subject<R>)(4), make(of<R>{}, 4)));
  EXPECT_EQ(seen, same(make(of<R>{}, 3), make(of<R>{}, 4)) ? 2 : 1);
  EXPECT_EQ(p.hits(), 2U);
}

TEST(TypedResults, Scalars) {
  check_returned<bool>(first_integer);
  check_returned<char>(first_integer);
  check_returned<int>(first_integer);
  check_returned<long>(first_integer);
  check_returned<color>(first_integer);
  check_returned<const char*>(first_integer);
  check_returned<quad>(first_integer | second_integer);
  check_returned<float>(first_vector);
  check_returned<double>(first_vector);
  check<long double>(x87);
}

TEST(TypedResults, ClassesInRegisters) {
  check_returned<three_chars>(first_integer);
  check_returned<two<int, int>>(first_integer);
  check_returned<two<long, long>>(first_integer | second_integer);
  check_returned<two<long, double>>(first_integer | first_vector);
  check_returned<two<double, long>>(first_vector | first_integer);
  check_returned<two<float, float>>(first_vector);
  check_returned<two<float, int>>(first_integer);
  check_returned<two<double, double>>(first_vector | second_vector);
  check_returned<four_floats>(first_vector | second_vector);
  check_returned<either>(first_integer);
  check_returned<std::complex<float>>(first_vector);
  check_returned<std::complex<double>>(first_vector | second_vector);
  check_returned<std::pair<long, double>>(first_integer | first_vector);  // its assignment is not trivial
  check<one_long_double>(x87);
}

TEST(TypedResults, ClassesInMemory) {
  check<three_longs>(first_integer);
  check<wide_but_in_memory>(first_integer);
  check<unaligned>(first_integer);
  check<two<long double, long double>>(first_integer);
  check<std::string>(first_integer);
  check<std::unique_ptr<int>>(first_integer);
}

TEST(TypedResults, WhatNoTraitTellsIsRefused) {
  EXPECT_THROW(static_cast<void>(on_return(&subject<unaligned>, [](unaligned) {})), std::system_error);
  EXPECT_THROW(static_cast<void>(on_return(&subject<one_long_double>, [](one_long_double) {})),
               std::system_error);
}

// ---- no result, references, nothing in a class

int effects = 0;
[[gnu::noinline]] void no_result(int n) { effects += opaque(n); }
int cells[10];
[[gnu::noinline]] int& reference_to(int n) { return cells[opaque(n)]; }
[[gnu::noinline]] none_at_all empty_class(int n) {
  effects += opaque(n);
  return {};
}

TEST(TypedResults, NoneAndEmpty) {
  EXPECT_EQ(detail::result_registers_of<void>(), none);
  EXPECT_EQ(detail::result_registers_of<none_at_all>(), none);
  effects = 0;
  int returned = 0;
  const scoped_probe after = on_return(&no_result, [&] { ++returned; });
  {
    const scoped_probe p = replace(&no_result, [](auto original, int n) {
      original(n);
      original(2 * n);
      return "a replacement's result is not asked for";
    });
    opaque (&no_result)(5);
  }
  opaque (&no_result)(1);
  EXPECT_EQ(effects, 16);
  EXPECT_EQ(returned, 2);
  const scoped_probe p = replace(&empty_class, [](auto original, int n) { return original(n + 1); });
  const scoped_probe q = on_return(&empty_class, [&](none_at_all) { ++returned; });
  static_cast<void>(opaque(&empty_class)(1));
  EXPECT_EQ(effects, 18);
  EXPECT_EQ(returned, 3);
}

TEST(TypedResults, References) {
  EXPECT_EQ(detail::result_registers_of<int&>(), first_integer);
  const int* seen = nullptr;
  const scoped_probe after = on_return(&reference_to, [&](int& cell) { seen = &cell; });
  EXPECT_EQ(&opaque(&reference_to)(4), &cells[4]);
  EXPECT_EQ(seen, &cells[4]);
  const scoped_probe p = replace(&reference_to, [](auto original, int n) -> int& { return original(n + 1); });
  EXPECT_EQ(&opaque(&reference_to)(4), &cells[5]);
  EXPECT_EQ(seen, &cells[5]);
}

// ---- vectors

[[gnu::noinline]] __m128d in_xmm(double x) { return _mm_set_pd(opaque(x), 2 * x); }
[[gnu::target("avx"), gnu::noinline]] __m256d in_ymm(double x) {
  return _mm256_set_pd(x, 2 * x, 3 * x, opaque(4 * x));
}
[[gnu::target("avx"), gnu::noinline]] bool is_ymm_of(double x) {
  const __m256d got = opaque(&in_ymm)(1.5);
  return got[0] == 4 * x && got[1] == 3 * x && got[2] == 2 * x && got[3] == x;
}
[[gnu::target("avx"), gnu::noinline]] __m256d instead_of_ymm(double x) {
  return reinterpret_cast<__m256d (*)(double)>(original(*current_replacement()))(2 * x);
}

TEST(TypedResults, M128) {
  EXPECT_EQ(detail::result_registers_of<__m128d>(), first_vector);
  double seen = 0;
  const scoped_probe after = on_return(&in_xmm, [&](__m128d result) { seen = result[1]; });
  const scoped_probe p = replace(&in_xmm, [](auto original, double x) { return original(x + 1); });
  const __m128d got = opaque(&in_xmm)(1.5);
  EXPECT_EQ(got[0], 5.0);
  EXPECT_EQ(got[1], 2.5);
  EXPECT_EQ(seen, 2.5);
}

TEST(TypedResults, M256) {
  if (!__builtin_cpu_supports("avx")) GTEST_SKIP() << "no AVX";
  replacement r{.at = &in_ymm, .entry = reinterpret_cast<void*>(&instead_of_ymm), .result = first_vector};
  ASSERT_FALSE(register_replacement(r));
  EXPECT_TRUE(is_ymm_of(3.0));
  unregister_replacement(r);
  EXPECT_TRUE(is_ymm_of(1.5));
}

}  // namespace
}  // namespace libprobe
