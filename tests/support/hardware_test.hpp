// What the tests of instruction forms have in common.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "hardware.hpp"

namespace hardware {

using bytes = std::vector<std::uint8_t>;

inline std::uint8_t byte(std::uint64_t value) { return static_cast<std::uint8_t>(value); }

inline void append(bytes& to, std::uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) to.push_back(byte(value >> (8 * i)));
}

/// Collects instructions, then tries them all. The seed is fixed, and told.
class forms_test : public testing::Test {
 protected:
  static constexpr std::uint64_t seed = 1;

  void SetUp() override {
    prepare();
    RecordProperty("seed", seed);
    fmt::print("seed {}\n", seed);
  }

  /// Anywhere, followed by landing place 0, with so many random trials.
  subject& add(const char* name, const bytes& code, std::size_t trials) {
    auto& s = subjects_.emplace_back(place_instruction(name, code));
    for (std::size_t i = 0; i < trials; ++i) s.trials.push_back(random_trial(random_));
    return s;
  }

  tally run(const char* what, std::span<const way> ways = all_ways) {
    const auto sum = compare_with_hardware(subjects_, ways);
    print(what, sum);
    subjects_.clear();
    EXPECT_EQ(sum.refused, 0U);
    return sum;
  }

  rng random_{seed};
  std::vector<subject> subjects_;
};

}  // namespace hardware
