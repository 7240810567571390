// Built-in actions: counters and latencies, by jumps and by traps.
#include <gtest/gtest.h>
#include <zlib.h>

#include <libprobe/libprobe.hpp>
#include <thread>
#include <vector>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::just_count;

[[gnu::noinline]] int inner(int x) {
  asm volatile("" ::: "memory");
  return x + 1;
}
[[gnu::noinline]] int outer(int x) {
  const int below = x <= 0 ? inner(0) - 1 : outer(x - 1);
  asm volatile("" ::: "memory");  // it is no loop
  return below + 1;
}

bool is_jump() { return list_probes().at(0).jump; }

TEST(Counter, CountsEveryCallByAJump) {
  counter c{.at = &inner};
  ASSERT_FALSE(register_counter(c));
  EXPECT_TRUE(is_jump());
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(inner(i), i + 1);
  EXPECT_EQ(hits(c), 1000U);
  unregister_counter(c);
  inner(0);
  EXPECT_EQ(hits(c), 1000U);  // readable afterwards
  ASSERT_FALSE(register_counter(c));
  EXPECT_EQ(hits(c), 0U);  // from the beginning, though the column has been used
  inner(0);
  EXPECT_EQ(hits(c), 1U);
}

TEST(Counter, CountsByATrapToo) {
  counter c{.at = &inner, .flags = probe_flags::no_jump};
  ASSERT_FALSE(register_counter(c));
  EXPECT_FALSE(is_jump());
  for (int i = 0; i < 10; ++i) inner(i);
  EXPECT_EQ(hits(c), 10U);
}

TEST(Counter, CountsInThreadsThatWereNeverInLibprobe) {
  counter c{.at = &inner};
  ASSERT_FALSE(register_counter(c));
  for (int round = 0; round < 4; ++round) {
    std::vector<std::thread> threads;
    for (int n = 0; n < 8; ++n) {
      threads.emplace_back([] {
        for (int i = 0; i < 10'000; ++i) inner(i);
      });
    }
    for (auto& t : threads) t.join();
  }
  EXPECT_EQ(hits(c), 4U * 8 * 10'000);
}

TEST(Counter, SharesItsPlaceWithOthers) {
  counter first{.at = &inner}, second{.at = &inner};
  probe p{.at = &inner, .pre_handler = just_count};
  ASSERT_FALSE(register_counter(first));
  inner(0);
  ASSERT_FALSE(register_probe(p));
  inner(0);
  ASSERT_FALSE(register_counter(second));
  inner(0);
  EXPECT_EQ(hits(first), 3U);
  EXPECT_EQ(hits(p), 2U);
  EXPECT_EQ(hits(second), 1U);
  unregister_probe(p);
  unregister_counter(first);
  inner(0);
  EXPECT_EQ(hits(first), 3U);
  EXPECT_EQ(hits(second), 2U);
}

TEST(Counter, InAHandlerToo) {
  counter c{.at = &inner};
  probe p{.at = &outer, .pre_handler = [](probe&, registers&) { return inner(1) == 2 ? 0 : 1; }};
  ASSERT_FALSE(register_counter(c));
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(outer(0), 1);
  EXPECT_EQ(hits(c), 2U);
}

TEST(Counter, RestsWhileDisabled) {
  counter c{.at = &inner};
  ASSERT_FALSE(register_counter(c));
  inner(0);
  ASSERT_FALSE(disable_counter(c));
  inner(0);
  ASSERT_FALSE(enable_counter(c));
  inner(0);
  EXPECT_EQ(hits(c), 2U);
}

// At every instruction of a real function, one after the other: flags and registers stay what they are.
TEST(Counter, AtEveryInstructionOfCrc32) {
  std::vector<unsigned char> data(1000);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<unsigned char>(i * 7);
  const auto sum = [&data] { return crc32(0, data.data(), static_cast<uInt>(data.size())); };
  const auto plain = sum();
  int placed = 0, jumps = 0;
  for (std::size_t offset = 0; offset < 400; ++offset) {
    counter c{.at = "libz.so.1:crc32_z+" + std::to_string(offset)};
    if (register_counter(c)) continue;
    ++placed;
    jumps += is_jump();
    EXPECT_EQ(sum(), plain) << offset;
  }
  EXPECT_GT(placed, 50);
  EXPECT_GT(jumps,
            placed * 2 / 3);  // hops are kept, and their memory is bounded: the last ones may find none
}

TEST(Latency, MeasuresEveryCall) {
  latency l{.at = &outer};
  ASSERT_FALSE(register_latency(l));
  EXPECT_TRUE(is_jump());
  for (int i = 0; i < 100; ++i) EXPECT_EQ(outer(4), 5);
  const auto seen = latencies_of(l);
  EXPECT_EQ(seen.count(), 500U);  // recursive calls each for themselves
  EXPECT_EQ(hits(l), 500U);
  EXPECT_GT(seen.quantile(1), seen.quantile(0));
  EXPECT_GE(seen.total_ticks, 500 * seen.quantile(0) / 2);
  unregister_latency(l);
  EXPECT_EQ(latencies_of(l).count(), 0U);
  ASSERT_FALSE(register_latency(l));
  EXPECT_EQ(latencies_of(l).count(), 0U);
}

TEST(Latency, InThreads) {
  latency l{.at = &inner};
  ASSERT_FALSE(register_latency(l));
  std::vector<std::thread> threads;
  for (int n = 0; n < 8; ++n) {
    threads.emplace_back([] {
      for (int i = 0; i < 1000; ++i) inner(i);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(latencies_of(l).count(), 8000U);
}

TEST(Latency, BucketsAreAsCloseAsTheySay) {
  for (std::uint64_t ticks = 1; ticks < std::uint64_t{1} << 40; ticks += 1 + ticks / 100) {
    const auto bucket = latency_buckets::bucket_of(ticks);
    const auto low = latency_buckets::first_in(bucket), high = latency_buckets::first_in(bucket + 1);
    ASSERT_LE(low, ticks);
    ASSERT_LT(ticks, high);
    ASSERT_LE((high - low) * 8, std::max<std::uint64_t>(low, 8));
  }
}

TEST(Latency, TicksAreTime) {
  EXPECT_GT(ticks_per_second(), 1e8);
  EXPECT_LT(ticks_per_second(), 1e11);
}

TEST(Actions, ComeInBatches) {
  counter c{.at = &inner};
  latency l{.at = &outer};
  {
    batch both;
    both.add(c).add(l);
    ASSERT_FALSE(both.commit());
  }
  outer(2);
  EXPECT_EQ(hits(c), 1U);
  EXPECT_EQ(latencies_of(l).count(), 3U);
}

}  // namespace
}  // namespace libprobe
