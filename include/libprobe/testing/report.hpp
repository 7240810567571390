// How a fixture says that something is wrong: verdicts for what is asked, failures for what is found.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <libprobe/testing/thread.hpp>
#include <stdexcept>
#include <string>
#include <utility>

namespace libprobe {

/// A line of the test. As a default argument `= source_line::here()` it is the caller's.
struct source_line {
  const char* file = "";
  int line = 0;
  // std::source_location does not exist with clang 14 and libstdc++.
  static constexpr source_line here(const char* file = __builtin_FILE(),
                                    int line = __builtin_LINE()) noexcept {
    return {file, line};
  }
};

/// What the reporter gets.
struct failure {
  std::string message;  ///< several lines, without the file and line
  source_line at;       ///< the check, or where the fixture was made
};

/// What the reporter that is set at first throws.
class test_failure : public std::runtime_error {
 public:
  explicit test_failure(const failure& f)
      : std::runtime_error{std::string{f.at.file} + ":" + std::to_string(f.at.line) + ": " + f.message} {}
};

/// Called for each failure, in the thread that found it, in ordinary context. It may throw; a failure found
/// in a destructor whose reporter throws ends the process with the message.
using failure_reporter = void (*)(const failure&);

namespace detail {

inline constinit std::atomic<failure_reporter> reporter{[](const failure& f) { throw test_failure{f}; }};

inline void report(failure f) { reporter.load(std::memory_order_acquire)(f); }

/// For destructors.
inline void report_at_end(const failure& f) noexcept {
  try {
    report(f);
  } catch (const std::exception& thrown) {
    std::fprintf(stderr, "%s\n", thrown.what());
    std::abort();
  }
}

}  // namespace detail

/// Replaces the reporter of the whole process and returns the one before. libprobe/testing/googletest.hpp
/// sets one for GoogleTest; without it failures are thrown as test_failure.
inline failure_reporter set_failure_reporter(failure_reporter now) noexcept {
  return detail::reporter.exchange(now, std::memory_order_acq_rel);
}

/// A yes or no, with what was recorded in words. GoogleTest takes it as it is: EXPECT_TRUE(s.was_called())
/// shows the words, and so does EXPECT_FALSE.
class verdict {
 public:
  verdict(bool good, std::string message) : good_{good}, message_{std::move(message)} {}
  [[nodiscard]] explicit operator bool() const noexcept { return good_; }
  [[nodiscard]] verdict operator!() const {
    const unwatched own_work;  // malloc may be made to fail
    return {!good_, message_};
  }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }

  /// To ::testing::AssertionResult, which is not named here so that GoogleTest is not needed.
  template <class Assertion>
  requires requires(Assertion a, const std::string& words) {
    a << words;
    a.failure_message();
  }
  operator Assertion() const {  // NOLINT(google-explicit-constructor)
    const unwatched own_work;   // asked inside of a promise not to allocate
    Assertion made{good_};
    if (!message_.empty()) made << message_;
    return made;
  }

 private:
  bool good_;
  std::string message_;
};

/// Reports the verdict if it is no. Any test framework, or none.
inline void expect(const verdict& v, source_line at = source_line::here()) {
  if (!v) detail::report({v.message(), at});
}

}  // namespace libprobe
