// Text passes: what stands in the text of sites after each, and what is told of it.
#include "control/text_pass.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "os/text.hpp"
#include "support/control_scene.hpp"

namespace libprobe::control {
namespace {

struct observer final : window_observer {
  std::vector<std::uintptr_t> closed, opened;
  int others = 0;
  void window_closes(const site::site& at) noexcept override { closed.push_back(at.address); }
  void window_is_open(const site::site& at) noexcept override { opened.push_back(at.address); }
  void text_is_others() noexcept override { ++others; }
};

class TextPass : public test::Scene {
 protected:
  void TearDown() override {
    os::set_write_refusal(nullptr);
    Scene::TearDown();
  }
  errc write(std::initializer_list<site::site*> sites, site::text wanted) {
    const std::vector<site::site*> all{sites};
    return write_text(all, wanted, told);
  }
  errc restore(std::initializer_list<site::site*> sites, site::text wanted) {
    const std::vector<site::site*> all{sites};
    return restore_text(all, wanted, told);
  }
  observer told;
};

TEST_F(TextPass, ASiteWithoutAJumpBecomesABreakpointAndIsAsItWas) {
  auto& at = make_site(0x100);
  EXPECT_EQ(write({&at}, site::text::jump), errc::ok);
  EXPECT_EQ(at.now, site::text::breakpoint);
  EXPECT_EQ(byte(0x100), arch::breakpoint_bytes[0]);
  EXPECT_EQ(byte(0x101), filler);
  EXPECT_EQ(restore({&at}, site::text::original), errc::ok);
  EXPECT_EQ(at.now, site::text::original);
  EXPECT_EQ(byte(0x100), filler);
  EXPECT_TRUE(told.closed.empty());
}

TEST_F(TextPass, AJumpIsWrittenWholeAndTakenBackWhole) {
  auto& at = make_jump(0x200);
  EXPECT_EQ(write({&at}, site::text::jump), errc::ok);
  EXPECT_EQ(at.now, site::text::jump);
  EXPECT_TRUE(std::equal(at.jump->jump.begin(), at.jump->jump.begin() + window, bytes() + 0x200));
  EXPECT_EQ(told.closed, std::vector{at.address});
  EXPECT_TRUE(told.opened.empty());
  EXPECT_EQ(restore({&at}, site::text::original), errc::ok);
  EXPECT_EQ(at.now, site::text::original);
  EXPECT_EQ(std::count(bytes() + 0x200, bytes() + 0x200 + window, filler), window);
  EXPECT_EQ(told.opened, std::vector{at.address});
}

TEST_F(TextPass, AJumpGoesBackToABreakpointAndComesAgain) {
  auto& at = make_jump(0x200);
  ASSERT_EQ(write({&at}, site::text::jump), errc::ok);
  EXPECT_EQ(write({&at}, site::text::breakpoint), errc::ok);
  EXPECT_EQ(at.now, site::text::breakpoint);
  EXPECT_EQ(byte(0x200), arch::breakpoint_bytes[0]);
  EXPECT_EQ(byte(0x201), filler);
  EXPECT_EQ(write({&at}, site::text::jump), errc::ok);
  EXPECT_EQ(at.now, site::text::jump);
  EXPECT_EQ(restore({&at}, site::text::original), errc::ok);
}

TEST_F(TextPass, ASiteThatMayNotHaveItsJumpStaysABreakpoint) {
  auto& yields = make_jump(0x200);
  auto& retreated = make_jump(0x240);
  yields.yields = true;
  retreated.retreated = true;
  EXPECT_EQ(write({&yields, &retreated}, site::text::jump), errc::ok);
  EXPECT_EQ(yields.now, site::text::breakpoint);
  EXPECT_EQ(retreated.now, site::text::breakpoint);
  EXPECT_EQ(byte(0x201), filler);
  EXPECT_EQ(byte(0x241), filler);
  EXPECT_EQ(restore({&yields, &retreated}, site::text::original), errc::ok);
}

TEST_F(TextPass, WhereOneCannotBeWrittenAllStayAsTheyWere) {
  auto& first = make_site(0x100);
  auto& second = make_jump(0x200);
  auto& third = make_site(0x300);
  set_byte(0x300, 0x91);  // not what was planned for
  EXPECT_EQ(write({&first, &second, &third}, site::text::jump), errc::text_changed);
  EXPECT_EQ(told.others, 1);
  for (const auto* at : {&first, &second, &third}) EXPECT_EQ(at->now, site::text::original);
  EXPECT_EQ(byte(0x100), filler);
  EXPECT_EQ(std::count(bytes() + 0x200, bytes() + 0x200 + window, filler), window);
  EXPECT_EQ(byte(0x300), 0x91);
  EXPECT_EQ(told.closed.size(), told.opened.size());
}

TEST_F(TextPass, WhereTheKernelRefusesAllStayAsTheyWere) {
  auto& first = make_site(0x100);
  auto& second = make_site(page + 0x100);
  static std::uintptr_t refused;
  refused = second.address & ~(page - 1);
  os::set_write_refusal([](std::uintptr_t where) { return where == refused; });
  EXPECT_EQ(write({&first, &second}, site::text::breakpoint), errc::text_not_writable);
  EXPECT_EQ(told.others, 0);
  EXPECT_EQ(first.now, site::text::original);
  EXPECT_EQ(second.now, site::text::original);
  EXPECT_EQ(byte(0x100), filler);
}

/// Whichever write it is: what earlier phases have written is taken back.
TEST_F(TextPass, ARefusalInALaterPhaseLeavesAllAsTheyWere) {
  static int left;
  bool any_refused = true;
  for (int nth = 0; any_refused; ++nth) {
    ASSERT_LT(nth, 20);
    auto& first = make_jump(0x200);
    auto& second = make_jump(page + 0x200);
    left = nth;
    os::set_write_refusal([](std::uintptr_t) { return left-- == 0; });
    const auto why = write({&first, &second}, site::text::jump);
    any_refused = why != errc::ok;
    os::set_write_refusal(nullptr);
    if (any_refused) {
      EXPECT_EQ(why, errc::text_not_writable);
      EXPECT_EQ(first.now, site::text::original) << "the write number " << nth;
      EXPECT_EQ(second.now, site::text::original);
    } else {
      EXPECT_GE(nth, 2 * 3) << "two pages, three phases";
      EXPECT_EQ(restore({&first, &second}, site::text::original), errc::ok);
    }
    EXPECT_EQ(std::count(bytes(), bytes() + pages * page, filler), static_cast<std::ptrdiff_t>(pages * page));
  }
}

TEST_F(TextPass, WhatCannotBeTakenBackIsKnownToStand) {
  auto& at = make_site(0x100);
  auto& other = make_site(page + 0x100);
  ASSERT_EQ(write({&at, &other}, site::text::breakpoint), errc::ok);
  static std::uintptr_t refused;
  refused = at.address & ~(page - 1);
  os::set_write_refusal([](std::uintptr_t where) { return where == refused; });
  EXPECT_EQ(restore({&at, &other}, site::text::original), errc::text_not_writable);
  EXPECT_EQ(at.now, site::text::breakpoint);
  EXPECT_EQ(other.now, site::text::original) << "as far as it goes";
  os::set_write_refusal(nullptr);
  EXPECT_EQ(restore({&at}, site::text::original), errc::ok);
  EXPECT_EQ(byte(0x100), filler);
}

TEST_F(TextPass, SomebodyElsesBytesCountAsOriginal) {
  auto& at = make_site(0x100);
  ASSERT_EQ(write({&at}, site::text::breakpoint), errc::ok);
  set_byte(0x100, 0x91);
  EXPECT_EQ(restore({&at}, site::text::original), errc::ok);
  EXPECT_EQ(at.now, site::text::original);
  EXPECT_EQ(byte(0x100), 0x91);
  EXPECT_EQ(told.others, 1);
}

TEST_F(TextPass, AGoneSiteIsNotWritten) {
  auto& at = make_site(0x100);
  at.gone = true;
  EXPECT_EQ(write({&at}, site::text::jump), errc::ok);
  EXPECT_EQ(at.now, site::text::original);
  EXPECT_EQ(byte(0x100), filler);
}

/// More than are restored at once.
TEST_F(TextPass, ManyAreWrittenAndTakenBack) {
  constexpr std::size_t many = 700;
  std::vector<site::site*> sites;
  for (std::size_t i = 0; i < many; ++i) sites.push_back(i % 2 == 0 ? &make_jump(8 * i) : &make_site(8 * i));
  EXPECT_EQ(write_text(sites, site::text::jump, told), errc::ok);
  EXPECT_EQ(told.closed.size(), many / 2);
  for (std::size_t i = 0; i < many; ++i) EXPECT_NE(byte(8 * i), filler);
  EXPECT_EQ(restore_text(sites, site::text::original, told), errc::ok);
  EXPECT_EQ(std::count(bytes(), bytes() + 8 * many, filler), static_cast<std::ptrdiff_t>(8 * many));
}

}  // namespace
}  // namespace libprobe::control
