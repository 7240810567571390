// Replacements that rest: which function a call runs while another thread enables and disables, and what
// original() is meanwhile.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;

std::atomic<std::uint64_t> bodies{0}, entries{0};

[[gnu::noinline]] long subject(long x) {
  bodies.fetch_add(1, std::memory_order_relaxed);
  return opaque(x) + 1;
}
long call(long x) { return opaque(&subject)(x); }

long instead(long x) {
  entries.fetch_add(1, std::memory_order_relaxed);
  return x + 1000;
}
long around(long x) {
  const auto& self = *current_replacement();
  entries.fetch_add(1, std::memory_order_relaxed);
  return reinterpret_cast<long (*)(long)>(original(self))(x) + 999;
}

/// How the replacement is reached.
struct way {
  const char* name;
  probe_flags flags = probe_flags::none;
  std::size_t stack_bytes = 0;  // 0: the detour may call it with nothing in between
  bool other_probe = false;     // so the place stays armed while it rests
};
constexpr way ways[] = {{"Direct"},
                        {"StandardAbi", probe_flags::standard_abi},
                        {"Copied", probe_flags::none, 64},
                        {"Trap", probe_flags::no_jump},
                        {"WithAProbe", probe_flags::none, 0, true},
                        {"TrapWithAProbe", probe_flags::no_jump, 0, true}};

struct ReplacementAtRest : testing::TestWithParam<way> {
  replacement r{.at = &subject,
                .entry = reinterpret_cast<void*>(&instead),
                .flags = GetParam().flags,
                .stack_bytes = GetParam().stack_bytes,
                .result = result_registers::first_integer};
  probe other{.at = &subject, .pre_handler = test::just_count};

  void SetUp() override {
    bodies = entries = 0;
    if (GetParam().other_probe) {
      ASSERT_FALSE(register_probe(other));
    }
  }

  /// Threads call while this one lets the replacement rest and work again. Each call runs `entry`, or the
  /// function, once.
  void toggle_under_calls() {
    ASSERT_FALSE(register_replacement(r));
    constexpr int threads = 3, rounds = 150;
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> plain{0}, replaced{0}, wrong{0};
    const auto one_call = [&](long x) {
      const long got = call(x);
      ++(got == x + 1 ? plain : got == x + 1000 ? replaced : wrong);
      return got - x;
    };
    std::vector<std::thread> callers;
    for (int i = 0; i < threads; ++i) {
      callers.emplace_back([&] {
        for (long x = 0; !stop; ++x) one_call(x);
      });
    }
    std::uint64_t seen = 0;
    for (int round = 0; round < rounds; ++round) {
      ASSERT_FALSE(disable_replacement(r));
      EXPECT_EQ(one_call(round), 1) << "a call that begins now is the function's";
      ASSERT_FALSE(enable_replacement(r));
      EXPECT_EQ(one_call(round), 1000) << "a call that begins now is the replacement's";
      const auto now = hits(r);
      EXPECT_GT(now, seen) << "hits() goes on where it was";
      seen = now;
    }
    stop = true;
    for (auto& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_GE(plain, 1U * rounds);
    EXPECT_EQ(entries, replaced);
    EXPECT_EQ(hits(r), replaced);
    EXPECT_EQ(nmissed(r), 0U);
    const bool by_original = r.entry == reinterpret_cast<void*>(&around);
    EXPECT_EQ(bodies, by_original ? plain + replaced : plain.load());
    if (GetParam().other_probe) {
      EXPECT_EQ(hits(other), plain + replaced);
    }
    unregister_replacement(r);  // waits for calls: one that was lost would hold it for ever
    EXPECT_EQ(one_call(1), 1);
  }
};

TEST_P(ReplacementAtRest, NoCallIsLostOrDoubled) { toggle_under_calls(); }

TEST_P(ReplacementAtRest, NorWhereItCallsTheOriginal) {
  r.entry = reinterpret_cast<void*>(&around);
  toggle_under_calls();
}

// original() is the function itself all the time, however the place is armed at that moment.
TEST_P(ReplacementAtRest, OriginalStays) {
  r.flags |= probe_flags::disabled;
  EXPECT_EQ(original(r), nullptr);
  ASSERT_FALSE(register_replacement(r));
  EXPECT_EQ(call(1), 2) << "it rests from the start";
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> calls{0};
  std::vector<std::thread> callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&] {
      for (long x = 0; !stop; ++x) {
        ++calls;
        ASSERT_EQ(reinterpret_cast<long (*)(long)>(original(r))(x), x + 1);
      }
    });
  }
  for (int round = 0; round < 100; ++round) {
    ASSERT_FALSE(enable_replacement(r));
    EXPECT_EQ(call(1), 1001);
    ASSERT_FALSE(disable_replacement(r));
    EXPECT_NE(original(r), nullptr);
    EXPECT_EQ(call(1), 2);
  }
  stop = true;
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(entries, 100U) << "original() never leads to `entry`";
  EXPECT_EQ(bodies, calls + 101);
  unregister_replacement(r);
  EXPECT_EQ(original(r), nullptr);
}

std::atomic<int> stage{0};
long waits(long x) {
  const auto& self = *current_replacement();
  entries.fetch_add(1);
  stage = 1;
  while (stage != 2) std::this_thread::yield();
  const long got = reinterpret_cast<long (*)(long)>(original(self))(x) + 999;
  stage = 3;
  return got;
}

// Who disables waits for nobody; the call that is inside goes on as a call of the replacement.
TEST_P(ReplacementAtRest, ACallThatIsInsideGoesOn) {
  r.entry = reinterpret_cast<void*>(&waits);
  ASSERT_FALSE(register_replacement(r));
  for (const bool enabled_again : {false, true}) {
    stage = 0;
    bodies = 0;
    long got = 0;
    std::thread inside{[&got] { got = call(5); }};
    while (stage != 1) std::this_thread::yield();
    ASSERT_FALSE(disable_replacement(r));  // returns though the call is inside
    EXPECT_EQ(call(1), 2);
    if (enabled_again) {
      ASSERT_FALSE(enable_replacement(r));
    }
    stage = 2;
    inside.join();
    EXPECT_EQ(got, 1005);
    EXPECT_EQ(bodies, 2U) << "each call ran the function once";
    ASSERT_EQ(stage, 3);
    ASSERT_FALSE(enable_replacement(r));
  }
  EXPECT_EQ(hits(r), 2U);
}

// But who removes it waits, whether it rests or not.
TEST_P(ReplacementAtRest, ItsRemovalWaitsForCallsThatAreInside) {
  r.entry = reinterpret_cast<void*>(&waits);
  ASSERT_FALSE(register_replacement(r));
  stage = 0;
  std::thread inside{[] { EXPECT_EQ(call(5), 1005); }};
  while (stage != 1) std::this_thread::yield();
  ASSERT_FALSE(disable_replacement(r));
  std::thread leaves{[] { stage = 2; }};
  unregister_replacement(r);
  EXPECT_EQ(stage, 3) << "the call has left `entry`";
  inside.join();
  leaves.join();
}

long disables_itself(long x) {
  auto& self = *current_replacement();
  entries.fetch_add(1);
  EXPECT_FALSE(disable_replacement(self));
  const long by_name = call(x);
  EXPECT_FALSE(enable_replacement(self));
  return by_name + reinterpret_cast<long (*)(long)>(original(self))(x);
}

TEST_P(ReplacementAtRest, FromInside) {
  r.entry = reinterpret_cast<void*>(&disables_itself);
  ASSERT_FALSE(register_replacement(r));
  EXPECT_EQ(call(5), 12);
  EXPECT_EQ(call(6), 14);
  EXPECT_EQ(entries, 2U) << "by name the function itself ran";
  EXPECT_EQ(bodies, 4U);
}

TEST_P(ReplacementAtRest, TheNextOneRunsInItsStead) {
  replacement second{.at = &subject,
                     .entry = reinterpret_cast<void*>(+[](long x) { return x + 2000; }),
                     .flags = GetParam().flags,
                     .stack_bytes = GetParam().stack_bytes};
  replacement* const both[] = {&r, &second};
  ASSERT_FALSE(register_replacements(both));
  EXPECT_EQ(call(1), 1001);
  EXPECT_EQ(nmissed(second), 1U);
  ASSERT_FALSE(disable_replacement(r));
  EXPECT_EQ(call(1), 2001);
  EXPECT_EQ(hits(r), 1U);
  EXPECT_EQ(nmissed(r), 0U);
  ASSERT_FALSE(disable_replacement(second));
  EXPECT_EQ(call(1), 2);
  ASSERT_FALSE(enable_replacement(r));
  EXPECT_EQ(call(1), 1001);
  EXPECT_EQ(nmissed(second), 1U) << "one that rests misses nothing";
}

INSTANTIATE_TEST_SUITE_P(All, ReplacementAtRest, testing::ValuesIn(ways),
                         [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace libprobe
