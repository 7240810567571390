// A piece of work with a probe on every instruction of every function of one library that it runs.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>

namespace every_instruction {

/// What a piece of work has to say, kept without the heap: where that lends its memory from is not the same
/// each time.
class output {
 public:
  output& operator+=(std::string_view text) {
    for (const char c : text) *this += c;
    return *this;
  }
  output& operator+=(char c) {
    if (size_ < sizeof text_) text_[size_++] = c;
    return *this;
  }
  template <std::integral T>
  requires(!std::same_as<T, char>) output& operator+=(T number) {
    const auto value = static_cast<std::int64_t>(number);
    if (value < 0) *this += '-';
    auto rest = value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
    char digits[20];
    int count = 0;
    do digits[count++] = static_cast<char>('0' + rest % 10);
    while ((rest /= 10) != 0);
    while (count > 0) *this += digits[--count];
    return *this;
  }
  void clear() { size_ = 0; }
  [[nodiscard]] std::string_view view() const { return {text_, size_}; }

 private:
  std::size_t size_ = 0;
  char text_[64 * 1024];
};

struct work {
  const char* name;
  const char* module;                // part of the library's file name
  std::function<void(output&)> run;  // says the same each time
  /// The least share of probes (executed or not) that must have been hit exactly as often as the CPU executes
  /// their instruction. Below 1 where the work's path depends on addresses, as in malloc, or on the clock.
  double exact = 1.0;
  bool post_handlers = true;  // a second pass with them
};

/// Runs it natively, then under the trap flag to learn what is executed, then with the probes. Reports
/// differing output, hits that are not plausible, and refused instructions as test failures. Only for a
/// process that has not used libprobe: one test each.
void check(const work& what);

}  // namespace every_instruction
