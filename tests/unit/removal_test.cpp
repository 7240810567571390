// Removal: what is queued rests; what is taken out is found by nobody, and freed when nobody can hold it.
#include "control/removal.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "support/control_parts.hpp"

namespace libprobe::control {
namespace {

class Removal : public test::Scene {
 protected:
  /// In the table, with probes that are linked. It is the removal's to free.
  site::site& site_with(std::size_t offset, std::initializer_list<test::attachment*> probes) {
    auto& at = make_site(offset);
    static_cast<void>(sites_.back().release());
    sites_.pop_back();
    publish(at);
    parts.removed.reserve(probes.size());
    for (auto* a : probes) {
      link(*a, at);
      parts.removed.add_linked();
    }
    return at;
  }
  epoch::ticket take_out() {
    auto answer = errc::ok;
    const auto covered = parts.removed.take_out(answer);
    EXPECT_EQ(answer, errc::ok);
    return covered;
  }
  test::control_parts parts;
};

TEST_F(Removal, WhatIsQueuedRestsAndStaysLinked) {
  test::attachment one;
  const auto& at = site_with(0x10, {&one});
  parts.removed.queue(one);
  EXPECT_TRUE(one.removed);
  EXPECT_TRUE(one.resting);
  EXPECT_EQ(at.first.load(), &one);
  EXPECT_TRUE(parts.removed.any_queued());
  EXPECT_EQ(one.released, 0);
  parts.take_out_and_free();
  EXPECT_FALSE(parts.removed.any_queued());
  EXPECT_EQ(one.released, 1);
}

TEST_F(Removal, AHitThatIsUnderWayHoldsWhatIsTakenOut) {
  test::attachment one;
  const auto& at = site_with(0x10, {&one});
  const auto where = at.address;
  auto hit = std::make_unique<epoch::section>();
  parts.removed.queue(one);
  const auto covered = take_out();
  EXPECT_NE(covered, 0U);
  EXPECT_EQ(one.where.load(), nullptr);
  EXPECT_EQ(site::sites.find(where), nullptr);
  EXPECT_FALSE(epoch::poll(covered));
  parts.removed.free_complete();
  EXPECT_EQ(one.released, 0);
  hit.reset();
  epoch::wait(covered);
  parts.removed.free_complete();
  EXPECT_EQ(one.released, 1);
  EXPECT_TRUE(parts.removed.is_over());
}

TEST_F(Removal, OthersAtTheSiteStay) {
  test::attachment first, second, third;
  auto& at = site_with(0x10, {&first, &second, &third});
  parts.removed.queue(second);
  parts.take_out_and_free();
  EXPECT_EQ(site::sites.find(at.address), &at);
  EXPECT_EQ(at.first.load(), &first);
  EXPECT_EQ(first.next.load(), &third);
  EXPECT_EQ(at.last, &third);
  EXPECT_EQ(second.next.load(), &third) << "who stands on it finds its way on";
  parts.remove({&first, &third});
  EXPECT_EQ(third.released, 1);
}

TEST_F(Removal, TextIsRestoredWhenNobodyWantsIt) {
  test::attachment wanted, rests, leaves;
  auto& at = site_with(0x10, {&wanted, &rests, &leaves});
  rests.disabled = true;
  site::site* const one[] = {&at};
  ASSERT_EQ(parts.text.put(one, site::text::breakpoint), errc::ok);
  parts.removed.queue(leaves);
  parts.take_out_and_free();
  EXPECT_EQ(byte(0x10), arch::breakpoint_bytes[0]);
  parts.removed.queue(wanted);
  parts.take_out_and_free();
  EXPECT_EQ(byte(0x10), filler);
  EXPECT_EQ(site::sites.find(address(0x10)), &at) << "one that is disabled is there";
  parts.remove({&rests});
  EXPECT_EQ(site::sites.find(address(0x10)), nullptr);
}

TEST_F(Removal, WithNothingTakenOutThereIsNothingToWaitFor) {
  test::attachment one;
  site_with(0x10, {&one});
  parts.take_out_and_free();
  EXPECT_EQ(take_out(), 0U);
  parts.remove({&one});
}

TEST_F(Removal, WhatIsInUseIsFreedWhenItsCallsHaveEnded) {
  test::attachment one;
  site_with(0x10, {&one});
  one.busy = true;
  one.begun.add(1);
  parts.remove({&one});
  EXPECT_TRUE(parts.removed.any_in_use());
  EXPECT_FALSE(parts.removed.is_over());
  EXPECT_EQ(parts.removed.free_in_use(nullptr), &one);
  std::atomic<void*>* const its[] = {&one.handle};
  const handles asked{its}, others{};
  EXPECT_EQ(parts.removed.free_in_use(&asked), &one);
  EXPECT_EQ(parts.removed.free_in_use(&others), nullptr)
      << "whoever removes another one does not wait for it";
  one.ended.add(1);
  EXPECT_EQ(parts.removed.free_in_use(nullptr), nullptr)
      << "its calls have ended: what holds it is nobody's wait";
  EXPECT_EQ(one.released, 0);
  one.busy = false;
  EXPECT_EQ(parts.removed.free_in_use(nullptr), nullptr);
  EXPECT_EQ(one.released, 1);
  EXPECT_TRUE(parts.removed.is_over());
}

TEST_F(Removal, GoneProbesThatAreReplacedAreTidiedUpNowAndThen) {
  constexpr int many = 200;
  std::vector<std::unique_ptr<test::attachment>> all;
  int released = 0;
  for (int i = 0; i < many; ++i) {
    auto& one = *all.emplace_back(std::make_unique<test::attachment>());
    site_with(0x10 + static_cast<std::size_t>(i), {&one});
    test::attachment next;
    auto again = test::request_for(next, one.where.load()->address);
    again.handle = &one.handle;
    parts.removed.replace_gone(again);
    EXPECT_TRUE(one.removed);
    parts.removed.tidy();
  }
  for (const auto& one : all) released += one->released;
  EXPECT_GT(released, 0);
  EXPECT_LT(released, many);
  parts.take_out_and_free();
  for (const auto& one : all) EXPECT_EQ(one->released, 1);
}

}  // namespace
}  // namespace libprobe::control
