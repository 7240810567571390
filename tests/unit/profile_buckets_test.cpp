// The histogram's arithmetic: nothing between buckets, nothing in two, and the promised error.
#include <gtest/gtest.h>

#include <algorithm>
#include <libprobe/profile.hpp>
#include <random>

#include "profile/buckets.hpp"

namespace libprobe::profile {
namespace {

TEST(Buckets, AreSeamless) {
  EXPECT_EQ(buckets::first_in(0), 0U);
  for (std::size_t at = 0; at < buckets::count; ++at) {
    ASSERT_EQ(buckets::of(buckets::first_in(at)), at);
    ASSERT_EQ(buckets::of(buckets::last_in(at)), at);
    ASSERT_EQ(buckets::last_in(at) + 1, buckets::first_in(at + 1));
  }
  EXPECT_EQ(buckets::last_in(buckets::count - 1), buckets::longest);
  EXPECT_EQ(buckets::of(~std::uint64_t{0}), buckets::count - 1);
}

TEST(Buckets, MiddleIsWithinTheStatedErrorOfAllValues) {
  for (std::size_t at = 1; at < buckets::count; ++at) {
    const auto first = static_cast<double>(buckets::first_in(at));
    const auto last = static_cast<double>(buckets::last_in(at));
    const double middle = (first + last) / 2;
    ASSERT_LE((middle - first) / first, latency_histogram::relative_error) << at;
    ASSERT_LE((last - middle) / last, latency_histogram::relative_error) << at;
  }
}

TEST(Quantiles, AgreeWithASort) {
  std::mt19937_64 random{1};
  std::lognormal_distribution<double> latencies{7, 2};
  std::vector<std::uint64_t> values(20'000);
  std::vector<std::uint64_t> counts(buckets::count);
  for (auto& one : values) ++counts[buckets::of(one = static_cast<std::uint64_t>(latencies(random)))];
  std::ranges::sort(values);
  std::vector<latency_histogram::bucket> filled;
  for (std::size_t at = 0; at < counts.size(); ++at) {
    const auto first = static_cast<double>(buckets::first_in(at));
    const auto last = static_cast<double>(buckets::last_in(at));
    if (counts[at] != 0) filled.push_back({first, last + 1, (first + last) / 2, counts[at]});
  }
  const latency_histogram histogram{filled};
  EXPECT_EQ(histogram.count(), values.size());
  for (int i = 0; i <= 1000; ++i) {
    const auto rank = std::max<std::size_t>((values.size() * static_cast<std::size_t>(i) + 999) / 1000, 1);
    const auto exact = static_cast<double>(values[rank - 1]);
    EXPECT_NEAR(histogram.quantile(i / 1000.0), exact, exact * latency_histogram::relative_error) << i;
  }
}

TEST(Quantiles, OfNothing) { EXPECT_EQ(latency_histogram{}.quantile(0.5), 0); }

}  // namespace
}  // namespace libprobe::profile
