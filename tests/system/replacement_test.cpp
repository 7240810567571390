// Replacements below the typed layer, and of functions that the whole program uses.
#include <cfenv>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <thread>
#include <vector>

#include "support/probing.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

namespace libprobe {
namespace {

using test::opaque;

[[gnu::noinline]] int subject(int x) { return opaque(x) + 1; }
[[gnu::noinline]] int other(int x) { return opaque(x) + 2; }

int twice(int x) {
  const auto& self = *current_replacement();
  return reinterpret_cast<int (*)(int)>(original(self))(2 * x) + *static_cast<int*>(self.context);
}

TEST(Replacement, RegistersAndGoes) {
  int added = 1000;
  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(&twice), .context = &added};
  EXPECT_EQ(original(r), nullptr);
  ASSERT_FALSE(register_replacement(r));
  EXPECT_EQ(register_replacement(r), errc::already_registered);
  EXPECT_EQ(opaque(&subject)(5), 1011);
  EXPECT_EQ(current_replacement(), nullptr);
  unregister_replacement_fast(r);
  EXPECT_EQ(opaque(&subject)(5), 6);
  ASSERT_FALSE(register_replacement(r));  // before the commit: ends registered
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(opaque(&subject)(5), 1011);
  unregister_replacement(r);
  EXPECT_EQ(opaque(&subject)(5), 6);
  EXPECT_EQ(original(r), nullptr);
  replacement empty{.at = &subject};
  EXPECT_EQ(register_replacement(empty), errc::no_handler);
  replacement inside{.at = static_cast<const void*>(test::code_of(&subject) + 1),
                     .entry = reinterpret_cast<void*>(&twice)};
  EXPECT_TRUE(register_replacement(inside));
}

TEST(Replacement, TheFirstOfSeveralRuns) {
  scoped_probe first = replace(&subject, [](auto original, int x) { return original(x) + 10; });
  const scoped_probe second = replace(&subject, [](auto original, int x) { return original(x) + 100; });
  EXPECT_EQ(opaque(&subject)(1), 12);
  EXPECT_EQ(second.hits(), 0U);
  EXPECT_EQ(second.nmissed(), 1U);
  first.release();
  EXPECT_EQ(opaque(&subject)(1), 102);
}

TEST(Replacement, ProbesInsideItRun) {
  probe inner{.at = &other, .pre_handler = test::just_count};
  ASSERT_FALSE(register_probe(inner));
  const scoped_probe p = replace(&subject, [](auto original, int x) { return original(opaque(&other)(x)); });
  EXPECT_EQ(opaque(&subject)(1), 4);
  EXPECT_EQ(hits(inner), 1U);
  unregister_probe(inner);
}

TEST(Replacement, InsideAHandlerTheOriginalRuns) {
  const scoped_probe p = replace(&subject, [](auto, int) { return -1; });
  int got = 0;
  const scoped_probe q = on_entry(&other, [&](int x) { got = opaque(&subject)(x); });
  EXPECT_EQ(opaque(&other)(1), 3);
  EXPECT_EQ(got, 2);
  EXPECT_EQ(p.nmissed(), 1U);
}

/// Calls itself by name, so that calls of a replacement nest.
[[gnu::noinline]] long sum_below(long n) { return n <= 0 ? 0 : opaque(&sum_below)(n - 1) + n; }
[[gnu::noinline]] int refuses(int x) { return opaque(x); }

// With nothing to save the detour calls the callable itself: see direct_call.S.
TEST(DirectReplacement, NestsThrowsAndGoes) {
  for (const auto flags : {probe_flags::none, probe_flags::standard_abi}) {
    std::atomic<long> inside{0};
    scoped_probe p = replace(
        &sum_below,
        [&](auto original, long n) {
          ++inside;
          const auto result = original(n);
          --inside;
          return result;
        },
        flags);
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        while (!stop) EXPECT_EQ(opaque(&sum_below)(20), 210);
      });
    }
    EXPECT_EQ(opaque(&sum_below)(20), 210);
    EXPECT_GE(p.hits(), 21U);
    p.release();
    EXPECT_EQ(inside, 0) << "nobody is in it any more";
    stop = true;
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(current_replacement(), nullptr);
  }
}

TEST(DirectReplacement, ExceptionsPass) {
  for (const auto flags : {probe_flags::none, probe_flags::standard_abi}) {
    scoped_probe p = replace(
        &refuses,
        [](auto, int x) -> int {
          if (x != 0) throw x;
          return 7;
        },
        flags);
    for (int round = 0; round < 3; ++round) {
      int caught = 0;
      try {
        opaque (&refuses)(5);
      } catch (int thrown) {
        caught = thrown;
      }
      EXPECT_EQ(caught, 5);
      EXPECT_EQ(current_replacement(), nullptr);
      EXPECT_EQ(opaque(&refuses)(0), 7);
    }
    EXPECT_EQ(p.hits(), 6U);
    p.release();  // would wait for ever for a call that was not taken off the count
    EXPECT_EQ(opaque(&refuses)(5), 5);
  }
}

TEST(DirectReplacement, RestsWhileItIsQueuedOrAnotherProbeIsThere) {
  scoped_probe p = replace(
      &subject, [](auto, int x) { return 10 * x; }, probe_flags::standard_abi);
  EXPECT_EQ(opaque(&subject)(1), 10);
  {
    probe other_probe{.at = &subject, .pre_handler = test::just_count};
    ASSERT_FALSE(register_probe(other_probe));
    EXPECT_EQ(opaque(&subject)(2), 20);
    EXPECT_EQ(hits(other_probe), 1U);
  }
  EXPECT_EQ(opaque(&subject)(3), 30);
  EXPECT_EQ(p.hits(), 3U);
  p.release_fast();
  EXPECT_EQ(opaque(&subject)(4), 5);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(opaque(&subject)(4), 5);
}

// ---- libc

TEST(ReplacementOfLibc, Rand) {
  const scoped_probe p = replace<int()>("libc.so.6:rand", [](auto) { return 4; });
  EXPECT_EQ(std::rand(), 4);
  EXPECT_EQ(std::rand(), 4);
  EXPECT_EQ(p.hits(), 2U);
}

TEST(ReplacementOfLibc, Malloc) {
#ifdef SANITIZED
  GTEST_SKIP() << "malloc is the sanitizer's";
#endif
  std::atomic<int> count{0};
  std::atomic<std::size_t> bytes{0};
  {
    const scoped_probe p =
        replace<void*(std::size_t)>("libc.so.6:malloc", [&](auto original, std::size_t size) {
          ++count;
          bytes += size;
          return original(size);
        });
    const auto work = [] {
      for (int i = 0; i < 1000; ++i) std::free(opaque(std::malloc(100)));
    };
    std::thread second{work};
    work();
    second.join();
  }
  EXPECT_GE(count, 2000);
  EXPECT_GE(bytes, 200000U);
}

TEST(ReplacementOfLibc, AnIfuncByItsName) {
  const auto length = opaque(&std::strlen);
  const scoped_probe p = replace<std::size_t(const char*)>(
      "libc.so.6:strlen",
      [](auto original, const char* text) { return original(text) + (text[0] == '!' ? 1000 : 0); });
  EXPECT_EQ(length("!four"), 1005U);
  EXPECT_EQ(length("five5"), 5U);
}

TEST(ReplacementOfLibc, RoundingModesStay) {
  const scoped_probe p =
      replace<int(int)>("libm.so.6:fesetround", [](auto original, int mode) { return original(mode); });
  const volatile long double one = 1;  // divided at run time, by the x87
  const volatile long double three = 3;
  ASSERT_EQ(std::fesetround(FE_UPWARD), 0);
  EXPECT_EQ(p.hits(), 1U);
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  EXPECT_GT(opaque(1.0) / opaque(3.0) * 3, 1.0);
  EXPECT_GT(one / three * 3, 1.0L);
  std::fesetround(FE_TONEAREST);
  EXPECT_EQ(one / three * 3, 1.0L);
}

// What is the vDSO's cannot be probed; where libc has code of its own it can.
TEST(ReplacementOfLibc, Time) {
  try {
    const scoped_probe p = replace<std::time_t(std::time_t*)>(
        "libc.so.6:time", [](auto, std::time_t*) { return std::time_t{12}; });
    EXPECT_EQ(opaque(&std::time)(nullptr), 12);
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), errc::denied_address) << error.what();
  }
}

}  // namespace
}  // namespace libprobe
