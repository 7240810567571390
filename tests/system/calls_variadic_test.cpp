// Variadic functions get what their callers pass, doubles too, whoever looks on or stands between.
#include <cstdarg>
#include <cstdio>
#include <string>

#include "support/probing.hpp"

#include <libprobe/testing.hpp>

namespace libprobe {
namespace {

constexpr const char* snprintf_place = "libc.so.6:snprintf";

/// As a caller that the compiler does not know better.
template <class... A>
std::string printed(const char* format, A... values) {
  std::array<char, 400> text{};
  int (*const print)(char*, std::size_t, const char*, ...) = test::opaque(std::snprintf);
  const int length = print(text.data(), text.size(), format, values...);
  EXPECT_EQ(length, static_cast<int>(std::string{text.data()}.size()));
  return text.data();
}

using one_double = int(char*, std::size_t, const char*, double);
using no_double = int(char*, std::size_t, const char*, int, const char*);
/// More than there are registers for, of both sorts.
using many = int(char*, std::size_t, const char*, double, int, double, long, double, const char*, double,
                 double, int, double, double, double, double, double);
constexpr const char* many_format = "%.1f %d %.1f %ld %.1f %s %.1f %.1f %d %.1f %.1f %.1f %.1f %.1f";
constexpr const char* many_printed = "1.5 2 3.5 4 5.5 six 7.5 8.5 9 10.5 11.5 12.5 13.5 14.5";
std::string print_many() {
  return printed(many_format, 1.5, 2, 3.5, 4L, 5.5, "six", 7.5, 8.5, 9, 10.5, 11.5, 12.5, 13.5, 14.5);
}
constexpr const char* none_printed = "7 seven";
std::string print_none() { return printed("%d %s", 7, "seven"); }

TEST(Variadic, AsItIsWithoutProbes) {
  EXPECT_EQ(printed("%.3f", 2.5), "2.500");
  EXPECT_EQ(print_many(), many_printed);
  EXPECT_EQ(print_none(), none_printed);
}

TEST(Variadic, UnderASpy) {
  {
    const spy<one_double> s{snprintf_place};
    EXPECT_EQ(printed("%.3f", 2.5), "2.500");
    EXPECT_EQ(printed("%.1f", -1.0), "-1.0");
    ASSERT_EQ(s.calls().size(), 2U);
    EXPECT_EQ(s.calls()[0].argument<3>(), 2.5);
    EXPECT_EQ(s.calls()[0].result, 5);
  }
  {
    const spy<many> s{snprintf_place};
    EXPECT_EQ(print_many(), many_printed);
    ASSERT_EQ(s.calls().size(), 1U);
    EXPECT_EQ(s.calls()[0].argument<16>(), 14.5);
  }
  const spy<no_double> s{snprintf_place};
  EXPECT_EQ(print_none(), none_printed);
  EXPECT_EQ(s.calls().size(), 1U);
}

TEST(Variadic, UnderStubsThatCallTheOriginal) {
  const stub<one_double> doubled{snprintf_place,
                                 [](auto original, char* to, std::size_t size, const char* format, double x) {
                                   return original(to, size, format, 2 * x);
                                 }};
  EXPECT_EQ(printed("%.3f", 2.5), "5.000");
  const stub<one_double> increased{
      snprintf_place, [](auto original, char* to, std::size_t size, const char* format, double x) {
        return original(to, size, format, x + 1);
      }};
  EXPECT_EQ(printed("%.3f", 2.5), "7.000");
}

TEST(Variadic, UnderFaultsThatAreNotMet) {
  const fault<one_double> f{snprintf_place, call_number(2), fails_with(-1)};
  EXPECT_EQ(printed("%.3f", 2.5), "2.500");
  std::array<char, 10> text{};
  EXPECT_EQ(test::opaque(std::snprintf)(text.data(), text.size(), "%.3f", 2.5), -1);
  EXPECT_EQ(printed("%.3f", 4.5), "4.500");
  EXPECT_EQ(f.failed(), 1U);
}

TEST(Variadic, Replaced) {
  {
    const auto guard =
        replace<one_double>(snprintf_place, [](auto original, char* to, std::size_t size, const char* format,
                                               double x) { return original(to, size, format, x * 10); });
    EXPECT_EQ(printed("%.3f", 2.5), "25.000");
    EXPECT_EQ(guard.hits(), 1U);
  }
  {
    const auto guard = replace<many>(snprintf_place,
                                     [](auto original, auto... arguments) { return original(arguments...); });
    EXPECT_EQ(print_many(), many_printed);
    EXPECT_EQ(guard.hits(), 1U);
  }
  const auto guard = replace<no_double>(
      snprintf_place, [](auto original, auto... arguments) { return original(arguments...); });
  EXPECT_EQ(print_none(), none_printed);
}

// By functions that are variadic themselves, and know only then what they were given.
extern "C" int print_in_brackets(char* to, std::size_t size, const char* format, ...) {
  std::va_list values;
  va_start(values, format);
  const int length = std::vsnprintf(to + 1, size - 2, format, values);
  va_end(values);
  to[0] = '[';
  to[length + 1] = ']';
  to[length + 2] = '\0';
  return length + 2;
}
replacement* now = nullptr;
extern "C" int print_by_the_original(char* to, std::size_t size, const char* format, ...) {
  const auto run = reinterpret_cast<int (*)(char*, std::size_t, const char*, ...)>(original(*now));
  std::va_list values;
  va_start(values, format);
  const double x = va_arg(values, double), y = va_arg(values, double);
  va_end(values);
  return run(to, size, format, y, x);
}

TEST(Variadic, ReplacedByVariadicFunctions) {
  {
    replacement r{.at = snprintf_place, .entry = reinterpret_cast<void*>(&print_in_brackets)};
    ASSERT_FALSE(register_replacement(r)) << last_error_detail();
    EXPECT_EQ(printed("%.3f", 2.5), "[2.500]");
    EXPECT_EQ(print_many(), "[" + std::string{many_printed} + "]");
    EXPECT_EQ(print_none(), "[" + std::string{none_printed} + "]");
  }
  replacement r{.at = snprintf_place, .entry = reinterpret_cast<void*>(&print_by_the_original)};
  now = &r;
  ASSERT_FALSE(register_replacement(r)) << last_error_detail();
  EXPECT_EQ(printed("%.3f %.1f", 2.5, 1.5), "1.500 2.5");
}

std::array<double, 9> seen{};
extern "C" void read_doubles(char*, std::size_t, const char* format, ...) {
  std::va_list values;
  va_start(values, format);
  for (auto& one : seen) one = va_arg(values, double);
  va_end(values);
}
TEST(Variadic, WatchedByAVariadicJprobe) {
  jprobe p{.at = snprintf_place, .entry = reinterpret_cast<void*>(&read_doubles)};
  ASSERT_FALSE(register_jprobe(p)) << last_error_detail();
  EXPECT_EQ(
      printed("%.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f", 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5),
      "1.5 2.5 3.5 4.5 5.5 6.5 7.5 8.5 9.5");
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<double>(i) + 1.5);
}

TEST(Variadic, FollowedAndWatched) {
  double given = 0;
  int length = 0;
  const auto entry =
      on_entry<one_double>(snprintf_place, [&](char*, std::size_t, const char*, double x) { given = x; });
  const auto exit = on_return<one_double>(snprintf_place, [&](int n) { length = n; });
  EXPECT_EQ(printed("%.3f", 2.5), "2.500");
  EXPECT_EQ(given, 2.5);
  EXPECT_EQ(length, 5);
}

TEST(Variadic, BehindAProbeAndARetprobe) {
  probe p{.at = snprintf_place, .pre_handler = test::just_count};
  retprobe r{.at = snprintf_place, .handler = [](retprobe_instance&, registers&) {}};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_retprobe(r));
  const spy<one_double> s{snprintf_place};
  EXPECT_EQ(printed("%.3f", 2.5), "2.500");
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(hits(r), 1U);
  EXPECT_EQ(s.calls().size(), 1U);
}

}  // namespace
}  // namespace libprobe
