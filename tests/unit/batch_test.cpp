// batch: additions and removals in one pass, and what is left of them when some are refused.
#include <gtest/gtest.h>

#include <memory>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::just_count;

[[gnu::noinline]] int first(int x) { return test::opaque(x) + 1; }
[[gnu::noinline]] int second(int x) { return test::opaque(x) + 2; }
[[gnu::noinline]] int third(int x) { return test::opaque(x) + 3; }

struct Batch : testing::Test {
  probe a{.at = &first, .pre_handler = just_count};
  probe b{.at = &second, .pre_handler = just_count};
  probe c{.at = &third, .pre_handler = just_count};

  static void call_all() {
    EXPECT_EQ(first(1), 2);
    EXPECT_EQ(second(1), 3);
    EXPECT_EQ(third(1), 4);
  }
};

TEST_F(Batch, AddsAndRemovesTogether) {
  batch changes;
  changes.add(a).add(b);
  call_all();
  EXPECT_EQ(hits(a), 0U);
  EXPECT_FALSE(changes.commit());
  call_all();
  EXPECT_FALSE(changes.remove(a).add(c).commit());
  call_all();
  EXPECT_EQ(hits(a), 1U);
  EXPECT_EQ(hits(b), 2U);
  EXPECT_EQ(hits(c), 1U);
}

TEST_F(Batch, OneGracePeriodForAll) {
  batch changes;
  ASSERT_FALSE(changes.add(a).add(b).add(c).commit());
  const auto before = epoch::grace_periods();
  ASSERT_FALSE(changes.remove(a).remove(b).remove(c).commit());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
}

TEST_F(Batch, ARefusedAdditionRefusesAllAdditionsButKeepsTheRemovals) {
  probe bad{.at = "no_such_function_here", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(a));
  batch changes;
  EXPECT_EQ(changes.remove(a).add(b).add(bad).commit(), errc::symbol_not_found);
  call_all();
  EXPECT_EQ(hits(a), 0U);
  EXPECT_EQ(hits(b), 0U);
  EXPECT_TRUE(list_probes().empty());
  EXPECT_FALSE(changes.commit()) << "it is empty afterwards";
  EXPECT_FALSE(changes.add(a).add(b).commit());
  call_all();
  EXPECT_EQ(hits(a), 1U);
}

TEST_F(Batch, WhatIsRemovedAndAddedEndsRegistered) {
  ASSERT_FALSE(register_probe(a));
  batch changes;
  EXPECT_FALSE(changes.add(a).remove(a).commit());
  call_all();
  EXPECT_EQ(hits(a), 1U);
  EXPECT_EQ(test::rows_at(address_of(a)).size(), 1U);
}

TEST_F(Batch, TheSameProbeTwiceIsRefused) {
  batch changes;
  EXPECT_EQ(changes.add(a).add(a).commit(), errc::already_registered);
  EXPECT_TRUE(list_probes().empty());
}

TEST_F(Batch, RemovingWhatIsNotRegisteredDoesNothing) {
  batch changes;
  EXPECT_FALSE(changes.remove(a).remove(a).commit());
}

TEST_F(Batch, TheDestructorCommits) {
  {
    batch changes;
    changes.add(a);
  }
  call_all();
  EXPECT_EQ(hits(a), 1U);
  std::unique_ptr<probe> passing{new probe{.at = &second, .pre_handler = just_count}};
  ASSERT_FALSE(register_probe(*passing));
  const auto before = epoch::grace_periods();
  {
    batch changes;
    changes.remove(*passing).remove(a);
  }
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  passing.reset();
  EXPECT_EQ(epoch::grace_periods(), before + 1) << "nothing was left to wait for";
}

TEST_F(Batch, AnEmptyOneDoesNotWait) {
  ASSERT_FALSE(register_probe(a));
  unregister_probe(a);
  const auto before = epoch::grace_periods();
  { batch nothing; }
  batch empty;
  EXPECT_FALSE(empty.commit());
  EXPECT_EQ(epoch::grace_periods(), before);
}

TEST(Error, SuccessIsTheEmptyCode) {
  probe p{.at = "getenv", .pre_handler = [](probe&, registers&) { return 0; }};
  EXPECT_EQ(register_probe(p), std::error_code{});
  EXPECT_EQ(disable_probe(p), std::error_code{});
  EXPECT_EQ(enable_probe(p), std::error_code{});
  unregister_probe(p);
  EXPECT_EQ(commit_probes(), std::error_code{});
}

}  // namespace
}  // namespace libprobe
