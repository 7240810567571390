// hits() while its probe is registered again and removed: the calls made, for any reader at any time.
#include <atomic>
#include <chrono>
#include <thread>

#include "support/probing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

using namespace std::chrono_literals;

[[gnu::noinline]] long target(long x) { return test::opaque(x) + 1; }
[[gnu::noinline]] long slow(long x) { return test::opaque(x) + 2; }

/// A commit that waits for a handler frees the old registration when there is a new one.
TEST(Counts, OfANewRegistrationAreNotTheOldOnes) {
  static std::atomic<bool> inside{false}, open{false}, committed{false};
  probe waited_for{.at = slow, .pre_handler = [](probe&, registers&) {
                     inside = true;
                     while (!open) std::this_thread::sleep_for(100us);
                     return 0;
                   }};
  probe p{.at = target, .pre_handler = test::just_count};
  ASSERT_FALSE(register_probe(waited_for));
  ASSERT_FALSE(register_probe(p));
  std::thread in_slow{[] { slow(1); }};
  while (!inside) std::this_thread::sleep_for(100us);
  unregister_probe_fast(p);
  std::thread commits{[] {
    commit_probes();
    committed = true;
  }};
  std::this_thread::sleep_for(100ms);  // most likely it waits by now, for what was registered first
  ASSERT_FALSE(register_probe(p));
  for (int i = 0; i < 3; ++i) target(i);
  EXPECT_EQ(hits(p), 3U);
  open = true;
  commits.join();
  in_slow.join();
  EXPECT_EQ(hits(p), 3U);
  for (int i = 0; i < 3; ++i) target(i);
  EXPECT_EQ(hits(p), 6U);
  const auto rows = test::rows_at(test::code_of(&target));
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].hits, 6U);
  unregister_probe(p);
  EXPECT_EQ(hits(p), 6U);
}

TEST(Counts, AreRightBesideOthersCommits) {
  std::atomic<bool> stop{false};
  probe p{.at = target, .pre_handler = test::just_count};
  std::thread commits{[&stop] {
    while (!stop) commit_probes();
  }};
  const test::until_time_is_over time;
  for (std::uint64_t seen = 3; time && seen == 3;) {
    ASSERT_FALSE(register_probe(p));
    for (int i = 0; i < 3; ++i) target(i);
    seen = hits(p);
    EXPECT_EQ(seen, 3U);
    unregister_probe_fast(p);
  }
  stop = true;
  commits.join();
}

TEST(Counts, AreNeverMoreThanTheCallsForWhoeverLooks) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> most{0};
  probe p{.at = target, .pre_handler = test::just_count};
  std::thread reads{[&] {
    while (!stop) {
      if (const auto seen = hits(p); seen > most) most = seen;
    }
  }};
  const test::until_time_is_over time;
  while (time && most <= 3) {
    ASSERT_FALSE(register_probe(p));
    for (int i = 0; i < 3; ++i) target(i);
    unregister_probe(p);
  }
  stop = true;
  reads.join();
  EXPECT_LE(most, 3U);
}

}  // namespace
}  // namespace libprobe
