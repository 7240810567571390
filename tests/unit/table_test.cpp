// The table of sites: against std::unordered_map, and under readers while it grows.
#include "site/table.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <unordered_map>
#include <vector>

#include "epoch/epoch.hpp"
#include "site/counted_table.hpp"

namespace libprobe::site {
namespace {

struct item {
  std::uintptr_t key = 0;
};

TEST(Table, AnEmptyOneFindsNothing) {
  const table<item> t;
  EXPECT_EQ(t.find(1), nullptr);
  EXPECT_EQ(t.size(), 0U);
  EXPECT_EQ(t.bytes(), 0U);
}

TEST(Table, AgreesWithUnorderedMap) {
  static table<item> t;
  std::unordered_map<std::uintptr_t, item*> expected;
  std::vector<std::unique_ptr<item>> items;
  std::mt19937_64 random{20240607};
  constexpr std::uintptr_t base = 0x7f1234560000;
  for (int round = 0; round < 200'000; ++round) {
    // Few keys, dense as instructions are, so that insertions, replacements and erasures of each meet.
    const auto key = base + random() % 2000;
    switch (random() % 4) {
      case 0:
      case 1: {
        items.push_back(std::make_unique<item>(item{key}));
        t.reserve(1);
        t.insert(key, items.back().get());
        expected[key] = items.back().get();
        break;
      }
      case 2:
        if (expected.erase(key) != 0) t.erase(key);
        break;
      default: {
        const auto known = expected.find(key);
        ASSERT_EQ(t.find(key), known == expected.end() ? nullptr : known->second);
      }
    }
    ASSERT_EQ(t.size(), expected.size());
  }
  std::unordered_map<std::uintptr_t, item*> seen;
  t.for_each([&seen](item& i) { EXPECT_TRUE(seen.emplace(i.key, &i).second); });
  EXPECT_EQ(seen, expected);
  t.drop_outgrown();
}

TEST(Table, KeysThatCollideAreToldApart) {
  // Multiples of the inverse of the hash's factor land side by side.
  constexpr std::uintptr_t inverse = 0xf1de83e19937733d;
  static_assert(inverse * 0x9e3779b97f4a7c15 == 1);
  static table<item> t;
  std::vector<item> items(500);
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].key = inverse * (i + 1);
    t.reserve(1);
    t.insert(items[i].key, &items[i]);
  }
  for (auto& i : items) EXPECT_EQ(t.find(i.key), &i);
  for (std::size_t i = 0; i < items.size(); i += 2) t.erase(items[i].key);
  for (std::size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(t.find(items[i].key), i % 2 == 0 ? nullptr : &items[i]);
  }
  t.drop_outgrown();
}

TEST(Table, EraseAndInsertCyclesNeedNoEverGrowingMemory) {
  static table<item> t;
  std::vector<item> items(100);
  std::size_t most = 0;
  for (std::uintptr_t generation = 0; generation < 2000; ++generation) {
    for (std::size_t i = 0; i < items.size(); ++i) {
      items[i].key =
          1 + generation * 4096 + i * 16;  // new addresses each time, as with a library loaded anew
      t.reserve(1);
      t.insert(items[i].key, &items[i]);
    }
    for (auto& i : items) t.erase(i.key);
    most = std::max(most, t.bytes());
    t.drop_outgrown();
  }
  EXPECT_EQ(t.size(), 0U);
  EXPECT_LE(most, 1024 * sizeof(table<item>::entry));
}

TEST(CountedTable, NeverOverlooksAKeyAndForgetsThoseErased) {
  static counted_table<item> t;
  static item one, other;
  constexpr std::uintptr_t base = 0x7f1234560000;
  constexpr std::uintptr_t page = 4096;
  EXPECT_FALSE(t.may_have(0, 1 << 20));
  std::mt19937_64 random{20240607};
  for (int round = 0; round < 20'000; ++round) {
    const auto key = base + random() % (200 * page);
    const auto from = key - random() % (3 * page), to = key + 1 + random() % (3 * page);
    ASSERT_FALSE(t.may_have(from, to));
    t.reserve(1);
    t.insert(key, &one);
    t.insert(key, &other);  // another value is no further key
    ASSERT_TRUE(t.may_have(from, to)) << key - base;
    ASSERT_TRUE(t.may_have(key, key + 1));
    ASSERT_FALSE(t.may_have((key & ~(page - 1)) - page, key & ~(page - 1)));
    ASSERT_FALSE(t.may_have((key | (page - 1)) + 1, (key | (page - 1)) + 1 + page));
    ASSERT_TRUE(t.may_have(0, base << 1));  // too much to look at
    t.erase(key);
  }
  EXPECT_FALSE(t.may_have(base, base + 200 * page));
  t.drop_outgrown();
}

TEST(Table, ReadersNeverMissAKeyNorSeeAnothersValueWhileItGrows) {
  static table<item> t;
  constexpr std::size_t lasting = 64;
  constexpr std::size_t passing = 20'000;
  epoch::prepare();
  std::vector<item> items(lasting + passing);
  for (std::size_t i = 0; i < items.size(); ++i) items[i].key = 0x400000 + 8 * i;
  t.reserve(lasting);
  for (std::size_t i = 0; i < lasting; ++i) t.insert(items[i].key, &items[i]);

  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> readers;
  for (unsigned seed = 0; seed < 3; ++seed) {
    readers.emplace_back([&, seed] {
      std::mt19937_64 random{seed};
      while (!stop.load(std::memory_order_relaxed)) {
        const epoch::section section;
        const auto which = random() % items.size();
        const item* found = t.find(items[which].key);
        if (found == nullptr ? which < lasting : found != &items[which]) ++wrong;
        if (t.find(items[random() % lasting].key) == nullptr) ++wrong;
      }
    });
  }
  epoch::retirement outgrown;
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = lasting; i < items.size(); ++i) {
      t.reserve(1);
      t.insert(items[i].key, &items[i]);
      if (i % 1000 == 0) {
        t.retire_outgrown(outgrown);
        epoch::wait(outgrown.seal());
        outgrown.free_complete();
      }
    }
    for (std::size_t i = lasting; i < items.size(); ++i) t.erase(items[i].key);
  }
  stop = true;
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(t.size(), lasting);
  t.drop_outgrown();
}

}  // namespace
}  // namespace libprobe::site
