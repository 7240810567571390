// Who called whom is told truly through followed calls, by backtrace() and by libunwind.
#include <algorithm>
#include <array>

#include "arch/arch.hpp"
#include "support/callers.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::addresses;
using test::by_backtrace;
using test::by_libunwind;
using test::followed;
using test::opaque;

bool in_slot(std::uintptr_t ip) { return arch::return_slot_at(ip) != arch::return_slot_count; }

addresses without_slots(addresses all) {
  all.erase(std::remove_if(all.begin(), all.end(), in_slot), all.end());
  return all;
}

using walker = addresses (*)();

template <int N>
[[gnu::noinline]] addresses frame(walker walk) {
  if constexpr (N == 0) {
    auto all = walk();
    all.erase(all.begin());  // the place inside the walker
    return opaque(true) ? all : addresses{};
  } else {
    auto all = frame<N - 1>(walk);
    return opaque(true) ? all : addresses{};
  }
}
[[gnu::noinline]] addresses recurse(walker walk, int depth) {
  if (depth == 0) return frame<2>(walk);
  auto all = recurse(walk, depth - 1);
  return opaque(true) ? all : addresses{};
}

class Frames : public testing::TestWithParam<walker> {};
INSTANTIATE_TEST_SUITE_P(Seen, Frames, testing::Values(by_backtrace, by_libunwind),
                         [](const auto& t) { return t.index == 0 ? "ByBacktrace" : "ByLibunwind"; });

TEST_P(Frames, AreTheTrueOnesAndTheSlots) {
  addresses expected;
  std::vector<std::unique_ptr<followed>> probes;
  constexpr std::array functions{&frame<0>, &frame<1>, &frame<2>, &frame<3>, &frame<4>};
  for (std::size_t i = 0; i <= functions.size(); ++i) {
    const auto seen = frame<4>(GetParam());
    if (i == 0) expected = seen;
    ASSERT_GE(seen.size(), 6U);
    EXPECT_EQ(seen.size(), expected.size() + i) << "a slot for each followed call";
    EXPECT_EQ(without_slots(seen), expected);
    if (i < functions.size()) probes.emplace_back(new followed{functions[i]});
  }
}

TEST_P(Frames, OfARecursion) {
  addresses expected;
  std::unique_ptr<followed> p;
  for (const std::size_t slots : {0U, 51U}) {
    if (slots != 0) p = std::make_unique<followed>(&recurse);
    const auto seen = recurse(GetParam(), 50);
    if (slots == 0) expected = seen;
    EXPECT_EQ(seen.size(), expected.size() + slots);
    EXPECT_EQ(without_slots(seen), expected);
  }
}

TEST_P(Frames, AreSeenFromHandlersToo) {
  static addresses at_return;
  static walker walk;
  walk = GetParam();
  at_return.clear();
  retprobe p{.at = &frame<1>,
             .handler = [](retprobe_instance&, registers&) { at_return = without_slots(walk()); }};
  ASSERT_FALSE(register_retprobe(p));
  const auto expected = without_slots(frame<2>(GetParam()));
  ASSERT_GE(expected.size(), 4U);
  // Of the function that has returned nothing is left: its caller and all above are.
  const addresses callers(expected.begin() + 2, expected.end());
  ASSERT_GE(at_return.size(), callers.size());
  EXPECT_TRUE(std::equal(callers.rbegin(), callers.rend(), at_return.rbegin()));
}

}  // namespace
}  // namespace libprobe
