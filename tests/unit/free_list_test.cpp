// The lock-free stack of numbers.
#include "site/free_list.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace libprobe::site {
namespace {

TEST(FreeList, HandsOutEachNumberOnceAndFreshOnesInOrder) {
  std::array<atomic<std::uint32_t>, 5> next{};
  free_list all{next.data(), next.size()};
  for (std::uint32_t i = 0; i < next.size(); ++i) {
    EXPECT_EQ(all.touched(), i);
    EXPECT_EQ(all.take(), i);
  }
  EXPECT_EQ(all.take(), free_list::none);
  EXPECT_EQ(all.touched(), next.size());
}

TEST(FreeList, TakesWhatWasGivenLastBeforeAFreshOne) {
  std::array<atomic<std::uint32_t>, 5> next{};
  free_list all{next.data(), next.size()};
  for (int i = 0; i < 3; ++i) all.take();
  all.give(1);
  all.give(0);
  EXPECT_EQ(all.take(), 0U);
  EXPECT_EQ(all.take(), 1U);
  EXPECT_EQ(all.take(), 3U);
  EXPECT_EQ(all.touched(), 4U);
}

TEST(FreeList, AnEmptyOneHasNone) {
  free_list all;
  EXPECT_EQ(all.take(), free_list::none);
  std::array<atomic<std::uint32_t>, 1> next{};
  all.adopt(next.data(), 1);
  EXPECT_EQ(all.take(), 0U);
}

/// Two numbers, so that the top is often another thread's and the same again: what the count in the head is
/// for.
TEST(FreeList, ThreadsNeverHoldTheSameNumber) {
  constexpr std::uint32_t size = 3;
  constexpr int rounds = 300'000;
  std::array<atomic<std::uint32_t>, size> next{};
  free_list all{next.data(), size};
  std::array<std::atomic<int>, size> holders{};
  std::atomic<int> twice{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        const auto first = all.take(), second = all.take();
        for (const auto one : {first, second}) {
          if (one != free_list::none && holders[one].fetch_add(1) != 0) ++twice;
        }
        for (const auto one : {first, second}) {
          if (one == free_list::none) continue;
          holders[one].fetch_sub(1);
          all.give(one);
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(twice, 0);
  std::array<bool, size> seen{};
  for (std::uint32_t i = 0; i < all.touched(); ++i) {
    const auto number = all.take();
    ASSERT_LT(number, size) << "one is lost";
    EXPECT_FALSE(seen[number]);
    seen[number] = true;
  }
}

}  // namespace
}  // namespace libprobe::site
