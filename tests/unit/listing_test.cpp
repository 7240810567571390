// list_probes(): one row per probe, in the manner of the kernel's list.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "support/probing.hpp"

namespace libprobe::listing_targets {

[[gnu::noinline]] int listed(int x) { return test::opaque(x) * 3; }

}  // namespace libprobe::listing_targets

namespace libprobe {
namespace {

using listing_targets::listed;
using test::just_count;
using testing::HasSubstr;

TEST(Row, PrintsInTheMannerOfTheKernel) {
  probe_row row{.address = 0x7f21c0a3b2f0,
                .symbol = "sqlite3_step",
                .offset = 4,
                .module = "libsqlite3.so.0",
                .method = "emulated",
                .tactic = "breakpoint",
                .reason = "",
                .hits = 12};
  EXPECT_EQ(to_string(row), "00007f21c0a3b2f0  k  sqlite3_step+0x4  libsqlite3.so.0  [TRAP]  12  0");
  row.jump = true;
  row.kind = 'r';
  row.nmissed = 3;
  EXPECT_THAT(to_string(row), HasSubstr("  r  sqlite3_step+0x4  libsqlite3.so.0  [JUMP]  12  3"));
  row.disabled = true;
  EXPECT_THAT(to_string(row), HasSubstr("[DISABLED]"));
  std::ostringstream out;
  out << row;
  EXPECT_EQ(out.str(), to_string(row));
}

TEST(Listing, ShowsWhatIsRegistered) {
  EXPECT_TRUE(list_probes().empty());
  probe p{.at = &listed, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(listed(2), 6);
  EXPECT_EQ(listed(3), 9);
  const auto rows = list_probes();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].address, reinterpret_cast<std::uintptr_t>(address_of(p)));
  EXPECT_EQ(rows[0].kind, 'k');
  EXPECT_THAT(rows[0].symbol, HasSubstr("libprobe::listing_targets::listed"));
  EXPECT_EQ(rows[0].offset, 0U);
  EXPECT_EQ(rows[0].module, "unit_listing");
  EXPECT_FALSE(rows[0].disabled);
  EXPECT_THAT(rows[0].method, testing::AnyOf("emulated", "copied"));
  EXPECT_EQ(rows[0].hits, 2U);
  EXPECT_EQ(rows[0].nmissed, 0U);
  unregister_probe(p);
  EXPECT_TRUE(list_probes().empty());
}

TEST(Listing, QueuedProbesAreGoneAndDisabledOnesAreMarked) {
  probe p{.at = &listed, .pre_handler = just_count};
  probe resting{.at = &listed, .pre_handler = just_count, .flags = probe_flags::disabled};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(resting));
  auto rows = list_probes();
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_FALSE(rows[0].disabled) << "in order of registration";
  EXPECT_TRUE(rows[1].disabled);
  unregister_probe_fast(p);
  rows = list_probes();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_TRUE(rows[0].disabled);
  ASSERT_FALSE(enable_probe(resting));
  EXPECT_FALSE(list_probes()[0].disabled);
}

TEST(Listing, RowsAreSortedByAddress) {
  probe in_libc{.at = "getenv", .pre_handler = just_count};
  probe stepped{.at = &listed, .pre_handler = just_count, .flags = probe_flags::single_step};
  probe also{.at = "setenv", .pre_handler = just_count};
  probe* const all[] = {&in_libc, &stepped, &also};
  ASSERT_FALSE(register_probes(all));
  const auto rows = list_probes();
  ASSERT_EQ(rows.size(), 3U);
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end(),
                             [](const auto& a, const auto& b) { return a.address < b.address; }));
  unregister_probes(all);
}

TEST(Listing, ItsNameLeadsBackToTheProbe) {
  probe p{.at = "getenv", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  const auto row = list_probes().at(0);
  probe again{.at = row.module + ":" + row.symbol, .pre_handler = just_count};
  ASSERT_FALSE(register_probe(again));
  EXPECT_EQ(address_of(again), address_of(p));
}

}  // namespace
}  // namespace libprobe
