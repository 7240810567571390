// Planning and registration of functions that nobody calls meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "control/pending.hpp"
#include "os/text.hpp"
#include "support/control_parts.hpp"
#include "support/probing.hpp"

/// Control's parts live as long as the process, and free nothing of what hits may find: here each test has
/// some.
extern "C" const char* __asan_default_options() { return "detect_leaks=0"; }

namespace libprobe::control {
namespace {

[[gnu::noinline]] long first_target(long x) { return test::opaque(x) * 3 + 1; }
[[gnu::noinline]] long second_target(long x) { return test::opaque(x) * 5 + 2; }

std::uintptr_t at(long (*function)(long)) { return reinterpret_cast<std::uintptr_t>(function); }

class Placing : public test::Scene {
 protected:
  void SetUp() override {
    Scene::SetUp();
    before = now();
  }
  void TearDown() override {
    os::set_write_refusal(nullptr);
    std::vector<site::attachment*> left;
    for (auto* a : {&first, &second, &third}) {
      if (a->where.load() != nullptr && !a->removed) left.push_back(a);
    }
    parts.remove(left);
    EXPECT_EQ(now(), before);
    EXPECT_EQ(site::sites.find(at(first_target)), nullptr);
    Scene::TearDown();
  }
  static std::vector<std::uint8_t> now() {
    auto bytes = test::bytes_at(test::code_of(first_target), 16);
    const auto more = test::bytes_at(test::code_of(second_target), 16);
    bytes.insert(bytes.end(), more.begin(), more.end());
    return bytes;
  }
  /// Of the second target, inside of an instruction.
  std::uintptr_t nowhere() {
    std::string ignored;
    for (std::uintptr_t i = 1; i < 16; ++i) {
      if (!parts.planner.functions().instruction_at(at(second_target) + i, false, ignored))
        return at(second_target) + i;
    }
    return 0;
  }

  test::control_parts parts;
  test::attachment first, second, third;
  std::string detail;
  std::vector<std::uint8_t> before;
};

TEST_F(Placing, APlanChangesNothing) {
  std::array requests{test::request_for(first, at(second_target)),
                      test::request_for(second, at(first_target))};
  placement planned;
  ASSERT_EQ(parts.planner.lay_out(requests, *parts.modules.modules(), planned, detail), errc::ok) << detail;
  ASSERT_EQ(planned.fresh.size(), 2U);
  EXPECT_LT(planned.fresh[0]->address, planned.fresh[1]->address);
  EXPECT_EQ(planned.fresh_at(at(first_target))->address, at(first_target));
  EXPECT_EQ(planned.fresh_at(at(first_target) + 1), nullptr);
  EXPECT_EQ(planned.fresh[0]->module, parts.modules.modules()->find(at(first_target)));
  parts.planner.drop();
  EXPECT_EQ(now(), before);
  EXPECT_EQ(site::sites.find(at(first_target)), nullptr);
  EXPECT_EQ(first.handle, nullptr);
}

TEST_F(Placing, ThoseAtOneAddressShareASite) {
  std::array requests{test::request_for(first, at(first_target)),
                      test::request_for(second, at(first_target))};
  requests[1].no_jump = true;
  placement planned;
  ASSERT_EQ(parts.planner.lay_out(requests, *parts.modules.modules(), planned, detail), errc::ok) << detail;
  ASSERT_EQ(planned.fresh.size(), 1U);
  EXPECT_EQ(planned.fresh[0]->jump, nullptr) << "one of them wants none";
  std::uintptr_t trap = 0;
  EXPECT_FALSE(site_planner::all_are_jumps(requests, planned, trap));
  EXPECT_EQ(trap, at(first_target));
  parts.planner.drop();
}

TEST_F(Placing, ACheckSaysWhatThePlanWouldSay) {
  std::array good{test::request_for(first, at(first_target))};
  std::array bad{test::request_for(first, at(first_target)), test::request_for(second, nowhere())};
  EXPECT_EQ(parts.planner.check(good, *parts.modules.modules(), detail), errc::ok);
  placement planned;
  const auto why = parts.planner.lay_out(bad, *parts.modules.modules(), planned, detail);
  EXPECT_NE(why, errc::ok);
  EXPECT_EQ(parts.planner.check(bad, *parts.modules.modules(), detail), why);
  parts.planner.drop();
}

TEST_F(Placing, WhatIsPlacedIsPublishedAndArmed) {
  std::array requests{test::request_for(first, at(first_target))};
  ASSERT_EQ(parts.placing.place(requests, detail), errc::ok) << detail;
  auto* const site = site::sites.find(at(first_target));
  ASSERT_NE(site, nullptr);
  EXPECT_EQ(first.where.load(), site);
  EXPECT_EQ(site->first.load(), &first);
  EXPECT_EQ(first.handle, &first);
  EXPECT_NE(site->now, site::text::original);
  EXPECT_NE(now(), before);
}

TEST_F(Placing, ADisabledOneIsPublishedOnly) {
  first.disabled = true;
  std::array requests{test::request_for(first, at(first_target))};
  ASSERT_EQ(parts.placing.place(requests, detail), errc::ok) << detail;
  EXPECT_EQ(now(), before);
  EXPECT_EQ(parts.placing.set_disabled(first, false), errc::ok);
  EXPECT_NE(now(), before);
  EXPECT_EQ(parts.placing.set_disabled(first, true), errc::ok);
  EXPECT_EQ(now(), before);
}

TEST_F(Placing, OneThatCannotBePlacedLeavesAllAsItWas) {
  ASSERT_NE(nowhere(), 0U);
  // The one that could be placed is planned first, and has a slot by then.
  std::array requests{test::request_for(first, at(second_target)), test::request_for(second, nowhere())};
  requests[0].code = requests[0].no_jump = true;
  EXPECT_NE(parts.placing.place(requests, detail), errc::ok);
  EXPECT_NE(detail, "");
  EXPECT_EQ(now(), before);
  EXPECT_EQ(parts.planner.write_code(), errc::ok);  // of what is left to be written
  parts.planner.slots().set_idle_bound(0);
  EXPECT_FALSE(parts.planner.slots().past_bound(0)) << "a slot is left";
  EXPECT_EQ(first.where.load(), nullptr);
  EXPECT_EQ(first.handle, nullptr);
  for (const auto& r : requests) EXPECT_NE(r.what, nullptr) << "it is the caller's";
}

TEST_F(Placing, WhatCannotBeArmedWaitsForACommitAndShowsWhatItShowedBefore) {
  site::ledger old_ledger;
  std::atomic<void*> ledger{&old_ledger};
  std::atomic<std::uintptr_t> placed_at{7};
  std::array requests{test::request_for(first, at(first_target))};
  requests[0].ledger = &ledger;
  requests[0].placed_at = &placed_at;
  static std::uintptr_t text;
  text = at(first_target) & ~std::uintptr_t{page - 1};
  os::set_write_refusal([](std::uintptr_t where) { return where == text; });
  EXPECT_EQ(parts.placing.place(requests, detail), errc::text_not_writable);
  EXPECT_EQ(requests[0].what, nullptr);
  EXPECT_TRUE(first.removed);
  EXPECT_EQ(ledger, &old_ledger);
  EXPECT_EQ(placed_at, 7U);
  EXPECT_EQ(first.released, 0);
  os::set_write_refusal(nullptr);
  parts.take_out_and_free();
  EXPECT_EQ(first.released, 1);
}

TEST_F(Placing, WhereOnlyJumpsWillDoABreakpointIsRefused) {
  std::array requests{test::request_for(first, at(first_target))};
  requests[0].no_jump = true;
  EXPECT_EQ(parts.placing.place(requests, detail, need::jumps), errc::trap_blocked);
  EXPECT_EQ(now(), before);
  EXPECT_EQ(parts.placing.place(requests, detail, need::any), errc::ok);
}

TEST_F(Placing, AnObjectIsRegisteredOnce) {
  std::array requests{test::request_for(first, at(first_target))};
  ASSERT_EQ(parts.placing.place(requests, detail), errc::ok);
  std::array again{test::request_for(second, at(second_target))};
  again[0].handle = &first.handle;
  EXPECT_EQ(parts.placing.place(again, detail), errc::already_registered);
}

TEST_F(Placing, ASecondProbeThatWantsMoreHasTheSitePlannedAnew) {
  std::array requests{test::request_for(first, at(first_target))};
  ASSERT_EQ(parts.placing.place(requests, detail), errc::ok) << detail;
  const auto* const site = site::sites.find(at(first_target));
  std::array more{test::request_for(second, at(first_target))};
  more[0].no_jump = true;
  ASSERT_EQ(parts.placing.place(more, detail), errc::ok) << detail;
  const auto* const fresh = site::sites.find(at(first_target));
  if (site->jump != nullptr) {
    EXPECT_NE(fresh, site);
  }
  EXPECT_EQ(fresh->now, site::text::breakpoint);
  EXPECT_EQ(first.where.load(), fresh);
  EXPECT_EQ(fresh->first.load(), &first);
  EXPECT_EQ(first.next.load(), &second);
}

TEST_F(Placing, PendingOnesArePlacedAsTheyAreFound) {
  pending_probes waits;
  std::vector<waiting> later(2);
  later[0].need = test::request_for(first, 0);
  later[0].name = "no_such_library.so:no_function";
  later[1].need = test::request_for(second, 0);
  later[1].name = "unit_control:no_function_yet";
  waits.reserve(later.size());
  waits.add(later);
  EXPECT_EQ(first.handle, &first) << "its object shows it";
  EXPECT_EQ(waits.list().size(), 2U);
  auto names = waits.all();
  ASSERT_EQ(names.size(), 2U);
  names[0].why = "not there";
  names[1].address = at(first_target);
  auto found = waits.found(names);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].what, &second);
  EXPECT_EQ(waits.list()[0].why, "not there");
  waits.place(found, parts.placing, need::any);
  EXPECT_EQ(second.where.load(), site::sites.find(at(first_target)));
  ASSERT_EQ(waits.list().size(), 1U);
  EXPECT_EQ(waits.list()[0].need.what, &first);
  waits.remove(first);
  EXPECT_TRUE(waits.list().empty());
  EXPECT_EQ(first.released, 1);
}

TEST_F(Placing, APendingOneThatCannotBePlacedWaitsOnAndTheOthersDoNot) {
  pending_probes waits;
  std::vector<waiting> later(2);
  later[0].need = test::request_for(first, 0);
  later[1].need = test::request_for(second, 0);
  for (auto& one : later) {
    one.need.waits = true;
    one.name = "somewhere:there";
  }
  waits.reserve(later.size());
  waits.add(later);
  auto names = waits.all();
  names[0].address = nowhere();
  names[1].address = at(first_target);
  auto found = waits.found(names);
  waits.place(found, parts.placing, need::any);
  ASSERT_EQ(waits.list().size(), 1U);
  EXPECT_EQ(waits.list()[0].need.what, &first);
  EXPECT_NE(waits.list()[0].why, "");
  EXPECT_NE(second.where.load(), nullptr);
}

}  // namespace
}  // namespace libprobe::control
