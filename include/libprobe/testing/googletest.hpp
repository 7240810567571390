// For GoogleTest: failures are its failures, and GoogleMock's matchers fit arguments. Included by
// libprobe/testing.hpp where GoogleTest was included before it.
#pragma once

#include <gtest/gtest.h>

#include <libprobe/testing/report.hpp>
#include <libprobe/testing/value.hpp>
#include <type_traits>

namespace libprobe::detail {

inline const failure_reporter before_googletest =
    set_failure_reporter([](const failure& f) { ADD_FAILURE_AT(f.at.file, f.at.line) << f.message; });

template <class M>
inline constexpr bool is_whole_matcher = false;
template <class T>
inline constexpr bool is_whole_matcher<::testing::Matcher<T>> = true;

/// `Gt(3)`, `_`, `Matcher<int>`; not plain values, which need no help.
template <class T, class M>
concept matcher_for =
    std::is_class_v<M> && !std::is_same_v<T, M> && !std::is_invocable_r_v<bool, const M&, const T&> &&
    (is_whole_matcher<M> || std::is_convertible_v<const M&, ::testing::Matcher<const T&>>);

template <class T, class M>
requires matcher_for<T, M>
struct matching<T, M> {
  static bool matches(const T& value, const M& expected) {
    if constexpr (is_whole_matcher<M>) {
      return expected.Matches(value);
    } else {
      return ::testing::Matcher<const T&>(expected).Matches(value);
    }
  }
  static void describe(std::ostream& out, const M& expected) {
    if constexpr (is_whole_matcher<M>) {
      expected.DescribeTo(&out);
    } else {
      ::testing::Matcher<const T&>(expected).DescribeTo(&out);
    }
  }
};

}  // namespace libprobe::detail
