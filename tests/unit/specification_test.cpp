// What probes ask for: together at one address, and of a site that is there.
#include "control/specification.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace libprobe::control {
namespace {

using site::purpose;

specification for_purpose(purpose what) {
  specification made;
  made.purpose = what;
  return made;
}

TEST(Specification, TogetherTheyAskForWhatEachAsksFor) {
  bool specification::*const all[] = {&specification::step,    &specification::code,    &specification::entry,
                                      &specification::pointed, &specification::follow,  &specification::after,
                                      &specification::no_jump, &specification::replaced};
  for (auto mine : all) {
    specification one, other;
    other.*mine = true;
    one.add(other);
    for (auto each : all) EXPECT_EQ(one.*each, each == mine);
    one.add({});
    EXPECT_TRUE(one.*mine);
  }
}

TEST(Specification, OnlyDetoursThatFollowServeSeveral) {
  const auto together = [](purpose first, purpose second) {
    auto one = for_purpose(first);
    one.add(for_purpose(second));
    return one.purpose;
  };
  EXPECT_EQ(together(purpose::follow, purpose::follow), purpose::follow);
  EXPECT_EQ(together(purpose::count, purpose::count), purpose::any);
  EXPECT_EQ(together(purpose::replace, purpose::replace), purpose::any);
  EXPECT_EQ(together(purpose::follow, purpose::count), purpose::any);
  EXPECT_EQ(together(purpose::any, purpose::count), purpose::any);
}

/// A site with a jump whose detour does `what`.
struct with_jump {
  explicit with_jump(purpose what) {
    at.jump = std::make_unique<site::jump_text>();
    at.detour_for = what;
  }
  site::site at;
};

TEST(Specification, ASiteMeetsWhatItCanDo) {
  with_jump general{purpose::any};
  EXPECT_TRUE(specification{}.met_by(general.at));
  EXPECT_TRUE(for_purpose(purpose::count).met_by(general.at));
  with_jump follows{purpose::follow};
  EXPECT_TRUE(for_purpose(purpose::follow).met_by(follows.at));
  EXPECT_FALSE(specification{}.met_by(follows.at));
  EXPECT_FALSE(for_purpose(purpose::follow).met_by(with_jump{purpose::count}.at));
}

TEST(Specification, ASiteDoesNotMeetWhatItLacks) {
  with_jump general{purpose::any};
  const auto met = [&](bool specification::*what) {
    specification wanted;
    wanted.*what = true;
    return wanted.met_by(general.at);
  };
  EXPECT_FALSE(met(&specification::code));
  EXPECT_FALSE(met(&specification::after));
  EXPECT_FALSE(met(&specification::no_jump));
  EXPECT_FALSE(met(&specification::replaced));
  EXPECT_FALSE(met(&specification::step));
  const site::slot code{};
  general.at.code = &code;
  general.at.after_by_detour = true;
  general.at.original_by_trap = 1;
  general.at.plan.how = arch::displaced::method::step;
  EXPECT_TRUE(met(&specification::code));
  EXPECT_TRUE(met(&specification::after));
  EXPECT_TRUE(met(&specification::replaced));
  EXPECT_TRUE(met(&specification::step));
  general.at.jump = nullptr;
  EXPECT_TRUE(met(&specification::no_jump));
}

TEST(Specification, AnewItAsksForWhatTheSiteHasToo) {
  with_jump follows{purpose::follow};
  const site::slot code{};
  follows.at.code = &code;
  follows.at.after_by_detour = true;
  follows.at.original_by_trap = 1;
  auto wanted = for_purpose(purpose::follow);
  wanted.add_present(follows.at);
  EXPECT_TRUE(wanted.code && wanted.after && wanted.replaced);
  EXPECT_FALSE(wanted.step || wanted.no_jump);
  EXPECT_EQ(wanted.purpose, purpose::follow);
  wanted.add_present(with_jump{purpose::count}.at);
  EXPECT_EQ(wanted.purpose, purpose::any);
}

/// No jump was asked for, which is not the same as one that did not fit.
TEST(Specification, ABreakpointThatWasAskedForStaysOne) {
  site::site asked, unlucky;
  unlucky.why_trap = "no room";
  specification one, other;
  one.add_present(asked);
  other.add_present(unlucky);
  EXPECT_TRUE(one.no_jump);
  EXPECT_FALSE(other.no_jump);
}

}  // namespace
}  // namespace libprobe::control
