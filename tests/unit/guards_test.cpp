// Guards: put in place once, before the first probe that can be placed.
#include "control/guards.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include "control/engine.hpp"
#include "control/escape_guards.hpp"
#include "control/signal_guards.hpp"
#include "support/control_parts.hpp"
#include "support/probing.hpp"

namespace libprobe::control {
namespace {

std::atomic<int> asked{0};

constexpr guard_hooks counting{[](registers&) {
                                 ++asked;
                                 return false;
                               },
                               [](registers&) { return false; },
                               [](site::attachment&, site::hit&) { return site::step::go_on; }};
constexpr loader_hooks deaf{[]() noexcept {}, []() noexcept {}};

[[gnu::noinline]] long target(long x) { return test::opaque(x) + 1; }

std::size_t guards_that_stand() {
  std::size_t count = 0;
  site::sites.for_each([&count](const site::site& at) {
    for (const auto* a = at.first.load(); a != nullptr; a = a->next.load()) count += a->kind == 'g' ? 1 : 0;
  });
  return count;
}

/// Guards are for good, as what they belong to.
struct guarded : test::control_parts {
  guards all{planner, placing, modules, deaf};
};

TEST(Guards, AreFoundInLibc) {
  const auto at_signals = signal_guards(counting.answer_signal_call);
  EXPECT_GT(at_signals.size(), 4U);
  for (const auto& g : at_signals) {
    EXPECT_EQ(g.stand_in, counting.answer_signal_call);
    EXPECT_EQ(g.what->owner, nullptr) << "a guard is nobody's";
  }
  const auto at_escapes = escape_guards(counting);
  EXPECT_TRUE(std::any_of(at_escapes.begin(), at_escapes.end(),
                          [](const request& g) { return g.what->before == counting.on_spawn; }));
  EXPECT_TRUE(std::any_of(at_escapes.begin(), at_escapes.end(),
                          [](const request& g) { return g.stand_in == counting.on_longjmp; }));
}

TEST(Guards, ARefusedProbeLeavesNone) {
  auto& control = *new guarded;
  test::attachment probe;
  static const int data = 1;
  std::array requests{test::request_for(probe, reinterpret_cast<std::uintptr_t>(&data))};
  std::string detail;
  EXPECT_NE(control.all.put(requests, counting, detail), errc::ok);
  EXPECT_EQ(guards_that_stand(), 0U);
  EXPECT_FALSE(control.all.are_complete());
}

TEST(Guards, StandBeforeAProbeThatCanBePlacedAndHearOfItsMasks) {
  auto& control = *new guarded;
  test::attachment probe;
  std::array requests{test::request_for(probe, reinterpret_cast<std::uintptr_t>(&target))};
  std::string detail;
  ASSERT_EQ(prepare_engine(detail), errc::ok) << detail;
  ASSERT_EQ(control.all.put(requests, counting, detail), errc::ok) << detail;
  EXPECT_TRUE(control.all.are_complete());
  EXPECT_EQ(probe.where.load(), nullptr) << "only the guards were placed";
  const auto standing = guards_that_stand();
  EXPECT_GT(standing, 4U);
  EXPECT_TRUE(control.modules.told_of_constructors());
  const int before = asked;
  sigset_t mask;
  sigemptyset(&mask);
  sigprocmask(SIG_BLOCK, nullptr, &mask);
  EXPECT_GT(asked, before);
  ASSERT_EQ(control.all.put(requests, counting, detail), errc::ok) << detail;
  EXPECT_EQ(guards_that_stand(), standing) << "once is enough";
}

}  // namespace
}  // namespace libprobe::control
