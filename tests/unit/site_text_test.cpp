// Jumps that give way to other probes, and come back.
#include "control/site_text.hpp"

#include <gtest/gtest.h>

#include "support/control_parts.hpp"

namespace libprobe::control {
namespace {

class SiteText : public test::Scene {
 protected:
  void put(site::site& at, site::text wanted) {
    site::site* const one[] = {&at};
    ASSERT_EQ(parts.text.put(one, wanted), errc::ok);
  }
  void TearDown() override {
    for (const auto& at : sites_) {
      site::sites.erase(at->address);
      site::site* const one[] = {at.get()};
      parts.text.take_back(one, site::text::original);
    }
    Scene::TearDown();
  }
  /// A site whose jump gave way to one inside of its window.
  void give_way() {
    wide = &make_jump(0x20);
    publish(*wide);
    put(*wide, site::text::jump);
    near = &make_site(0x20 + window - 1);
    publish(*near);
    put(*wide, site::text::breakpoint);
    parts.text.reserve(1);
    parts.text.yield(*wide);
  }
  test::control_parts parts;
  site::site* wide = nullptr;
  site::site* near = nullptr;
};

TEST_F(SiteText, AYieldingSiteStaysABreakpointWhileItIsNeeded) {
  give_way();
  put(*wide, site::text::jump);
  EXPECT_EQ(wide->now, site::text::breakpoint);
  parts.text.return_to_jumps();
  EXPECT_TRUE(wide->yields);
  EXPECT_EQ(byte(0x21), filler);
}

TEST_F(SiteText, ItsJumpComesBackWhenTheOtherIsGone) {
  give_way();
  site::sites.erase(near->address);
  parts.text.return_to_jumps();
  EXPECT_FALSE(wide->yields);
  EXPECT_EQ(wide->now, site::text::jump);
  EXPECT_EQ(byte(0x20), wide->jump->jump[0]);
}

TEST_F(SiteText, AJumpThatNobodyWantsDoesNotComeBack) {
  give_way();
  put(*wide, site::text::original);
  site::sites.erase(near->address);
  parts.text.return_to_jumps();
  EXPECT_FALSE(wide->yields);
  EXPECT_EQ(byte(0x20), filler);
}

TEST_F(SiteText, AForgottenSiteIsLeftAlone) {
  give_way();
  parts.text.forget(*wide);
  site::sites.erase(near->address);
  parts.text.return_to_jumps();
  EXPECT_EQ(wide->now, site::text::breakpoint);
}

TEST_F(SiteText, OfAGoneSiteNothingIsWritten) {
  give_way();
  parts.text.text_is_gone(*wide);
  EXPECT_TRUE(wide->gone);
  EXPECT_FALSE(wide->yields);
  set_byte(0x20, 0x91);  // another module's
  site::sites.erase(near->address);
  parts.text.return_to_jumps();
  put(*wide, site::text::jump);
  EXPECT_EQ(byte(0x20), 0x91);
  EXPECT_EQ(wide->now, site::text::original);
}

/// What runs behind the breakpoint is the site's own instruction alone: the copies of all that the jump
/// covers would pass the other probe by.
TEST_F(SiteText, AYieldingSiteGoesOnInItsOwnInstruction) {
  wide = &make_jump(0x20);
  wide->first_copy = 0x1000;
  publish(*wide);
  parts.text.reserve(1);
  parts.text.yield(*wide);
  EXPECT_NE(wide->body.load(), 0x1000U);
  parts.text.return_to_jumps();
  EXPECT_EQ(wide->body.load(), 0x1000U);
}

}  // namespace
}  // namespace libprobe::control
