// What examples/run promises: figures that were once measured, and what is to be made of them.
#include <gtest/gtest.h>

#include "examples/sqlite/budget.hpp"

namespace {

using budget::hit_counts;
using budget::prices;

constexpr double micro = 1e-6;

/// A run of 10 ms of work that these hits made longer.
budget::trial trial_of(hit_counts hits, prices really) {
  return {.seconds = 0.01 + really.cost(hits), .unprobed = 0.01, .hits = hits};
}

/// As it was: entries are jumps, 0.16 us each; probes that crowd each other cost 1 us and more.
constexpr prices really{0.16 * micro, 1.0 * micro};
const auto entries = trial_of({1e6, 0}, really);

TEST(Promise, TheTrialTellsWhatATrapCosts) {
  const auto now = budget::measured(entries, trial_of({1e6, 7e6}, really));
  EXPECT_NEAR(now.of_jump, 0.16 * micro, 1e-12);
  EXPECT_NEAR(now.of_trap, 1.0 * micro, 1e-12);
  // 200 million hits, which were said to take 29 s.
  EXPECT_NEAR(now.cost(hit_counts{20e6, 180e6}), 183, 1);
}

TEST(Promise, WithoutTrapsAHitCostsWhatItDidInTheTrial) {
  const auto now = budget::measured(entries, trial_of({4e6, 0}, {0.3 * micro, 0}));
  EXPECT_NEAR(now.of_jump, 0.3 * micro, 1e-12);
  EXPECT_NEAR(now.of_trap, 0.3 * micro, 1e-12);
}

TEST(Promise, OfARunWithoutHitsIsNoHarm) {
  const auto now = budget::measured({}, {});
  EXPECT_EQ(now.cost({1e9, 1e9}), 0);
  const budget::promise nothing{{}, {}};
  EXPECT_EQ(nothing.seconds(1000), 0);
  EXPECT_EQ(nothing.rows_within(30, 1000), 1000U);
}

TEST(Promise, AHitCostsWhatItDidInTheRehearsal) {
  // 2,000 hits a row and a million without any, at 1 us.
  const budget::promise made{{500, 2.0, 2e6}, {2000, 5.0, 5e6}};
  EXPECT_NEAR(made.hits(100'000), 201e6, 1);
  EXPECT_NEAR(made.seconds(100'000), 201, 1e-6);
}

TEST(Promise, HasAsManyRowsAsFitIntoTheTime) {
  const budget::promise made{{500, 2.0, 2e6}, {2000, 5.0, 5e6}};
  const auto rows = made.rows_within(30, 100'000);
  EXPECT_NEAR(static_cast<double>(rows), 14'500, 1);
  EXPECT_NEAR(made.seconds(static_cast<double>(rows)), 30, 0.01);
  EXPECT_EQ(made.rows_within(1000, 100'000), 100'000U) << "no more than were asked for";
  EXPECT_EQ(made.rows_within(1, 100'000), 2000U) << "no fewer than were rehearsed";
  EXPECT_EQ(made.rows_within(1, 1000), 1000U);
}

}  // namespace
