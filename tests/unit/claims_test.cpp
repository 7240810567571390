// Claims: each number is one taker's until it is given back.
#include "site/claims.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <set>
#include <thread>
#include <vector>

namespace libprobe::site {
namespace {

/// Claims in memory of their own.
struct pool {
  explicit pool(std::uint32_t size) : bytes{std::make_unique<std::byte[]>(claims::bytes_for(size))} {
    all.adopt(bytes.get(), size);
  }
  std::unique_ptr<std::byte[]> bytes;
  claims all;
};

TEST(Claims, EachNumberIsHandedOutOnce) {
  for (const std::uint32_t size : {1U, 7U, 8U, 9U, 64U, 1001U}) {
    pool p{size};
    std::set<std::uint32_t> taken;
    for (std::uint32_t i = 0; i < size; ++i) {
      const auto number = p.all.take();
      EXPECT_LT(number, size);
      EXPECT_TRUE(taken.insert(number).second) << number << " twice of " << size;
    }
    EXPECT_EQ(p.all.take(), claims::none) << "all " << size << " are claimed";
  }
}

TEST(Claims, OneThatIsGivenBackCanBeTaken) {
  constexpr std::uint32_t size = 40;
  pool p{size};
  for (std::uint32_t i = 0; i < size; ++i) p.all.take();
  for (const std::uint32_t number : {0U, 17U, size - 1}) {
    p.all.give(number);
    EXPECT_EQ(p.all.take(), number);
    EXPECT_EQ(p.all.take(), claims::none);
  }
}

TEST(Claims, AThreadTakesFirstWhatItGaveLast) {
  pool p{64};
  p.all.take();
  const auto mine = p.all.take();
  p.all.give(mine);
  EXPECT_EQ(p.all.take(), mine);
}

TEST(Claims, AnySeesOneClaimWhereverItIs) {
  constexpr std::uint32_t size = 21;
  pool p{size};
  EXPECT_FALSE(p.all.any());
  std::vector<std::uint32_t> taken;
  for (std::uint32_t i = 0; i < size; ++i) taken.push_back(p.all.take());
  while (!taken.empty()) {
    EXPECT_TRUE(p.all.any());
    p.all.give(taken.back());
    taken.pop_back();
  }
  EXPECT_FALSE(p.all.any());
}

/// Threads take and give numbers, fewer than are wanted at times.
void take_and_give(std::uint32_t size, int rounds) {
  pool p{size};
  std::vector<std::atomic<int>> holders(size);
  std::atomic<int> twice{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        std::array<std::uint32_t, 3> mine{};
        for (auto& one : mine) {
          one = p.all.take();
          if (one != claims::none && holders[one].fetch_add(1) != 0) ++twice;
        }
        for (const auto one : mine) {
          if (one == claims::none) continue;
          holders[one].fetch_sub(1);
          p.all.give(one);
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(twice, 0);
  EXPECT_FALSE(p.all.any());
}

TEST(Claims, ThreadsNeverHoldTheSameNumber) { take_and_give(11, 50'000); }
TEST(Claims, ThreadsThatWantTheOnlyNumberNeverBothHaveIt) { take_and_give(1, 500'000); }

}  // namespace
}  // namespace libprobe::site
