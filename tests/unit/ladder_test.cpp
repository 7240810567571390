// The ladder: bytes in, shapes out; the bytes of a jump; where hops lie, and how much memory they take.
#include <gmock/gmock.h>

#include <algorithm>
#include <fstream>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "arch/arch.hpp"
#include "control/hop_store.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using arch::jump_shape;
using arch::tactic;
using testing::ElementsAre;
using testing::IsEmpty;
using bytes = std::vector<std::uint8_t>;

constexpr std::uintptr_t address = 0x5555'5555'4321;

/// One instruction of each length, as compilers pad with.
bytes nop(std::size_t length) {
  static const bytes all[] = {{},
                              {0x90},
                              {0x66, 0x90},
                              {0x0f, 0x1f, 0x00},
                              {0x0f, 0x1f, 0x40, 0x01},
                              {0x0f, 0x1f, 0x44, 0x02, 0x03},
                              {0x66, 0x0f, 0x1f, 0x44, 0x04, 0x05},
                              {0x0f, 0x1f, 0x80, 0x06, 0x07, 0x08, 0x09},
                              {0x0f, 0x1f, 0x84, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e}};
  return all[length];
}
bytes nops(const std::vector<std::size_t>& lengths) {
  bytes made;
  for (const auto length : lengths) {
    const auto one = nop(length);
    made.insert(made.end(), one.begin(), one.end());
  }
  return made;
}

/// The shapes for some text, which ends after `size` bytes.
struct text {
  bytes code;
  std::size_t size = 64;
  std::uint32_t landings = 0;
  std::uint32_t taken = 0;

  [[nodiscard]] std::vector<jump_shape> shapes() const {
    auto there = code;
    there.resize(std::min(size, std::max<std::size_t>(there.size(), arch::longest_window)), 0xc3);
    std::vector<arch::instruction> instructions;
    for (std::size_t at = 0;
         at < std::min(code.size(), there.size()) && instructions.size() < arch::most_members;) {
      const auto next = arch::split(std::span{there}.subspan(at));
      if (!next) break;
      instructions.push_back(*next);
      at += next->length;
    }
    std::array<jump_shape, arch::most_shapes> found;
    const auto count = arch::jump_shapes({address, instructions, there, landings, taken}, found);
    return {found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count)};
  }
};

std::string name(const jump_shape& shape) {
  switch (shape.how) {
    case tactic::over_long:
      return "over_long";
    case tactic::punned:
      return "punned";
    case tactic::prefixed:
      return "prefixed " + std::to_string(shape.prefixes);
    case tactic::over_several:
      return "over " + std::to_string(shape.members);
    default:
      return "none";
  }
}
std::vector<std::string> names(const text& of) {
  std::vector<std::string> all;
  for (const auto& shape : of.shapes()) all.push_back(name(shape));
  return all;
}

bool is_fixed(const jump_shape& shape, std::size_t i) { return (shape.fixed >> (8 * i) & 0xff) == 0xff; }
unsigned fixed_byte(const jump_shape& shape, std::size_t i) { return shape.distance >> (8 * i) & 0xff; }

/// One letter a byte: what stands there once the jump is written.
std::string drawn(const jump_shape& shape) {
  std::string picture(shape.prefixes, 'p');
  picture += 'j';
  for (std::size_t i = 0; i < 4; ++i) {
    const bool inner = (shape.boundaries >> (shape.prefixes + 1 + i) & 1U) != 0;
    picture += is_fixed(shape, i) ? inner ? 't' : '=' : '.';
  }
  return picture;
}
std::vector<std::string> pictures(const text& of) {
  std::vector<std::string> all;
  for (const auto& shape : of.shapes()) all.push_back(drawn(shape));
  return all;
}

TEST(Ladder, OverOneInstructionByItsLength) {
  const auto alone = [](std::size_t length) { return pictures({nop(length)}); };
  EXPECT_THAT(alone(1), ElementsAre("j===="));
  EXPECT_THAT(alone(2), ElementsAre("j.===", "pj===="));
  EXPECT_THAT(alone(3), ElementsAre("j..==", "pj.===", "ppj===="));
  EXPECT_THAT(alone(4), ElementsAre("j...=", "pj..==", "ppj.===", "pppj===="));
  EXPECT_THAT(alone(5), ElementsAre("j...."));
  EXPECT_THAT(alone(6), ElementsAre("j...."));
  EXPECT_THAT(alone(8), ElementsAre("j...."));
}

TEST(Ladder, OverSeveralByTheirBoundaries) {
  const auto several = [](const std::vector<std::size_t>& lengths) {
    auto all = pictures({nops(lengths)});
    return std::vector(all.begin() + static_cast<std::ptrdiff_t>(lengths[0]), all.end());
  };
  EXPECT_THAT(several({1, 8}), ElementsAre("jt..."));
  EXPECT_THAT(several({2, 8}), ElementsAre("j.t.."));
  EXPECT_THAT(several({3, 8}), ElementsAre("j..t."));
  EXPECT_THAT(several({4, 8}), ElementsAre("j...t"));
  EXPECT_THAT(several({2, 3, 8}), ElementsAre("j.t.."));  // the third begins behind the jump
  EXPECT_THAT(several({2, 2, 8}), ElementsAre("j.t.=", "j.t.t"));
  EXPECT_THAT(several({1, 1, 1, 1, 1}), ElementsAre("jt===", "jtt==", "jttt=", "jtttt"));
}

/// Every sequence of lengths: the list of shapes, each with its numbers, worked out here by other means.
TEST(Ladder, EverySequenceOfLengths) {
  std::vector<std::size_t> lengths(5, 1);
  const auto next = [&lengths] {
    for (auto& length : lengths) {
      if (++length <= 8) return true;
      length = 1;
    }
    return false;
  };
  do {
    const text here{nops(lengths)};
    std::vector<std::string> expected;
    if (lengths[0] >= 5) {
      expected = {"over_long"};
    } else {
      expected = {"punned"};
      for (std::size_t p = 1; p < lengths[0] && p <= 3; ++p)
        expected.push_back("prefixed " + std::to_string(p));
      std::size_t before_last = 0;
      for (std::size_t m = 2; m <= 5; ++m) {
        before_last += lengths[m - 2];
        if (before_last < 5) expected.push_back("over " + std::to_string(m));
      }
    }
    const auto shapes = here.shapes();
    ASSERT_EQ(names(here), expected);
    for (const auto& shape : shapes) {
      SCOPED_TRACE(name(shape));
      const auto displaced =
          std::accumulate(lengths.begin(), lengths.begin() + shape.members, std::size_t{0});
      ASSERT_EQ(shape.length, displaced);
      ASSERT_EQ(shape.window, shape.prefixes + 5);
      std::size_t boundary = 0;
      std::uint8_t boundaries = 0;
      for (std::size_t m = 0; m + 1 < shape.members; ++m) {
        boundary += lengths[m];
        if (boundary < shape.window) boundaries = static_cast<std::uint8_t>(boundaries | 1U << boundary);
      }
      ASSERT_EQ(shape.boundaries, boundaries);
      for (std::size_t i = 0; i < 4; ++i) {
        const auto at = shape.prefixes + 1U + i;
        const bool inner = (boundaries >> at & 1U) != 0;
        ASSERT_EQ(is_fixed(shape, i), inner || at >= displaced);
        if (!is_fixed(shape, i)) continue;
        ASSERT_EQ(fixed_byte(shape, i), inner ? 0xcc : at < here.code.size() ? here.code[at] : 0xc3);
      }
    }
  } while (next());
}

TEST(Ladder, NoShapeTakesAnotherProbesByte) {
  const auto with_taken = [](const std::vector<std::size_t>& lengths, std::size_t n) {
    return names({.code = nops(lengths), .taken = 1U << n});
  };
  EXPECT_THAT(with_taken({8, 8}, 8), ElementsAre("over_long"));
  EXPECT_THAT(with_taken({5, 8}, 5), ElementsAre("over_long"));
  EXPECT_THAT(with_taken({4, 8}, 4), IsEmpty());  // its successor's bytes must stay as they are, too
  EXPECT_THAT(with_taken({1, 3, 8}, 4), IsEmpty());
  EXPECT_THAT(with_taken({1, 4, 8}, 5), ElementsAre("punned", "over 2"));
  EXPECT_THAT(with_taken({3, 2, 8}, 5), ElementsAre("punned", "over 2"));
  EXPECT_THAT(with_taken({3, 3, 8}, 6), ElementsAre("punned", "prefixed 1", "over 2"));
  EXPECT_THAT(with_taken({4, 3, 8}, 7), ElementsAre("punned", "prefixed 1", "prefixed 2", "over 2"));
  EXPECT_THAT(with_taken({4, 4, 8}, 8),
              ElementsAre("punned", "prefixed 1", "prefixed 2", "prefixed 3", "over 2"));
}

TEST(Ladder, NothingIsDisplacedWhereABranchLeads) {
  const auto with_landing = [](const std::vector<std::size_t>& lengths, std::size_t n) {
    return names({.code = nops(lengths), .landings = 1U << n});
  };
  EXPECT_THAT(with_landing({1, 8}, 1), ElementsAre("punned"));
  EXPECT_THAT(with_landing({2, 2, 8}, 2), ElementsAre("punned", "prefixed 1"));
  // only what three of them would cover
  EXPECT_THAT(with_landing({2, 2, 8}, 4), ElementsAre("punned", "prefixed 1", "over 2"));
  EXPECT_THAT(with_landing({4, 8}, 4), ElementsAre("punned", "prefixed 1", "prefixed 2", "prefixed 3"));
  EXPECT_THAT(with_landing({4, 8}, 12),
              ElementsAre("punned", "prefixed 1", "prefixed 2", "prefixed 3", "over 2"));
  // to the probed address itself: a loop
  EXPECT_THAT(with_landing({1, 8}, 0), ElementsAre("punned", "over 2"));
  EXPECT_THAT(with_landing({8, 8}, 3), ElementsAre("over_long"));
}

bytes operator+(bytes a, const bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST(Ladder, NoCallIsDisplacedBeforeOthers) {
  const bytes call_register{0xff, 0xd0}, call_memory{0xff, 0x10}, far_call{0xff, 0x18};
  const bytes jump_register{0xff, 0xe0}, push_memory{0xff, 0x30};
  for (const auto& call : {call_register, call_memory, far_call}) {
    EXPECT_THAT(names({call + nop(8)}), ElementsAre("punned", "prefixed 1"));
    EXPECT_THAT(names({nop(1) + call + nop(8)}), ElementsAre("punned", "over 2"));
    EXPECT_THAT(names({nop(2) + nop(2) + call + nop(8)}),
                ElementsAre("punned", "prefixed 1", "over 2", "over 3"));
  }
  EXPECT_THAT(names({jump_register + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2"));
  EXPECT_THAT(names({push_memory + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2"));
  const bytes long_call{0xe8, 0x00, 0x10, 0x00, 0x00};
  EXPECT_THAT(names({long_call + nop(8)}), ElementsAre("over_long"));
  EXPECT_THAT(names({nop(3) + long_call + nop(8)}),
              ElementsAre("punned", "prefixed 1", "prefixed 2", "over 2"));
}

TEST(Ladder, NoBranchIntoItsOwnWindowIsDisplacedWithIt) {
  const auto jcc = [](int distance) { return bytes{0x75, static_cast<std::uint8_t>(distance)}; };
  // nop(2) jcc: boundaries at 2; the branch ends at 4
  EXPECT_THAT(names({nop(2) + jcc(-2) + nop(8)}), ElementsAre("punned", "prefixed 1"));  // to itself
  EXPECT_THAT(names({nop(2) + jcc(-4) + nop(8)}),
              ElementsAre("punned", "prefixed 1", "over 2", "over 3"));  // to the probe
  EXPECT_THAT(names({nop(2) + jcc(-5) + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2", "over 3"));
  EXPECT_THAT(names({nop(2) + jcc(+8) + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2", "over 3"));
  // over its successor: where three are displaced, that leads to the end, which is none of them
  EXPECT_THAT(names({nop(2) + jcc(0) + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2"));
  // the first of them
  EXPECT_THAT(names({jcc(+1) + nop(1) + nop(1) + nop(8)}), ElementsAre("punned", "prefixed 1", "over 2"));
  EXPECT_THAT(names({jcc(+2) + nop(1) + nop(1) + nop(8)}),
              ElementsAre("punned", "prefixed 1", "over 2", "over 3"));
  // loop and jrcxz have no other form than the short one
  EXPECT_THAT(names({nop(3) + bytes{0xe2, 0xfe} + nop(8)}),
              ElementsAre("punned", "prefixed 1", "prefixed 2"));
  EXPECT_THAT(names({nop(3) + bytes{0xe3, 0xfe} + nop(8)}),
              ElementsAre("punned", "prefixed 1", "prefixed 2"));
}

TEST(Ladder, TheJumpLiesWithinTheText) {
  EXPECT_THAT(names({.code = nop(1), .size = 1}), IsEmpty());
  EXPECT_THAT(names({.code = nop(4), .size = 4}), IsEmpty());
  EXPECT_THAT(names({.code = nop(4), .size = 5}), ElementsAre("punned"));
  EXPECT_THAT(names({.code = nop(4), .size = 6}), ElementsAre("punned", "prefixed 1"));
  EXPECT_THAT(names({.code = nop(4), .size = 7}), ElementsAre("punned", "prefixed 1", "prefixed 2"));
  EXPECT_THAT(names({.code = nop(4), .size = 8}),
              ElementsAre("punned", "prefixed 1", "prefixed 2", "prefixed 3"));
  EXPECT_THAT(names({.code = nop(5), .size = 5}), ElementsAre("over_long"));
  EXPECT_THAT(names({.code = nops({2, 3}), .size = 5}), ElementsAre("punned", "over 2"));
  EXPECT_THAT(names({.code = nops({2, 2}), .size = 4}), IsEmpty());
}

/// Whatever may be written at an inner boundary traps alone, and so in the midst of anything.
TEST(JumpBytes, AreOneInstructionThatLeadsThere) {
  std::mt19937_64 random{1};
  for (std::size_t length = 1; length <= 8; ++length) {
    for (const auto& shape : text{nop(length) + nop(8)}.shapes()) {
      for (int round = 0; round < 1000; ++round) {
        const auto target =
            address + shape.window +
            static_cast<std::uintptr_t>(static_cast<std::int64_t>(static_cast<std::int32_t>(random())));
        bytes window(16, 0xaa);
        arch::write_jump(shape, address, target, std::span{window}.first(shape.window));
        ASSERT_EQ(std::count(window.begin() + shape.window, window.end(), 0xaa), 16 - shape.window);
        const auto jump = arch::decode(window);
        ASSERT_TRUE(jump);
        ASSERT_EQ(jump->length, shape.window);
        ASSERT_EQ(jump->opcode, 0xe9);
        ASSERT_FALSE(jump->operand_size);
        ASSERT_EQ(arch::flow_of(*jump, address).branch, target);
        ASSERT_TRUE(arch::may_begin_patch(window[0]) && window[0] != arch::breakpoint_bytes[0]);
      }
    }
  }
}

// ---- hops

using control::hop_store;

/// Of executable memory that belongs to no file.
std::size_t mappings() {
  std::ifstream maps{"/proc/self/maps"};
  std::size_t count = 0;
  for (std::string line; std::getline(maps, line);)
    count += line.find(" r-xp 00000000 00:00 0") != std::string::npos && line.find('[') == std::string::npos;
  return count;
}

/// The address of something in this program. Below it there is free memory; above it, somewhere, the heap.
const std::uintptr_t here = reinterpret_cast<std::uintptr_t>(&mappings);

jump_shape shape_with(std::array<std::optional<std::uint8_t>, 4> distance, std::uint8_t prefixes = 0) {
  jump_shape shape;
  shape.how = tactic::punned;
  shape.prefixes = prefixes;
  shape.window = static_cast<std::uint8_t>(5 + prefixes);
  shape.length = shape.window;
  for (std::size_t i = 0; i < distance.size(); ++i) {
    if (!distance[i]) continue;
    shape.fixed |= 0xffU << (8 * i);
    shape.distance |= std::uint32_t{*distance[i]} << (8 * i);
  }
  return shape;
}
constexpr std::optional<std::uint8_t> any;
constexpr std::optional<std::uint8_t> trapping{0xcc};
constexpr std::optional<std::uint8_t> exactly(std::size_t value) { return static_cast<std::uint8_t>(value); }

bool fits(const jump_shape& shape, std::uintptr_t from, std::uintptr_t hop) {
  const auto distance = static_cast<std::int64_t>(hop - (from + shape.window));
  if (distance != static_cast<std::int32_t>(distance)) return false;
  if (((static_cast<std::uint32_t>(distance) ^ shape.distance) & shape.fixed) != 0) return false;
  return true;
}

using arch::jump_reach;

constexpr bool is_user_address(std::uintptr_t address) {
  return address >= 0x1'0000 && address <= 0x7fff'ffff'0000;
}

/// The addresses that it names are those that the shape allows, all of them, in order.
TEST(JumpReach, NamesEachAddressThatTheShapeAllows) {
  std::mt19937_64 random{3};
  for (std::size_t round = 0; round < 2000; ++round) {
    std::array<std::optional<std::uint8_t>, 4> distance;
    for (auto& byte : distance) byte = random() % 2 == 0 ? exactly(random()) : any;
    const auto shape = shape_with(distance);
    const auto from = round % 2 == 0 ? here : std::uintptr_t{0x40'0000};
    const jump_reach reach{shape, from};
    // From anywhere, or from near an allowed address, so that bytes carry.
    auto at = from + static_cast<std::uintptr_t>(static_cast<std::int32_t>(random()));
    if (const auto near = reach.next(at); near != jump_reach::none && round % 3 != 0)
      at = near + random() % 0x2'0000 - 0x1'0000;
    const auto found = reach.next(at);
    constexpr std::uintptr_t looked_at = 0x4000;
    for (auto before = at; before != at + looked_at && before != found; ++before)
      ASSERT_FALSE(is_user_address(before) && fits(shape, from, before)) << round << ' ' << before - from;
    if (found == jump_reach::none) continue;
    ASSERT_GE(found, at);
    ASSERT_TRUE(fits(shape, from, found)) << round;
    ASSERT_TRUE(reach.allows(found));
  }
}

/// Programs that are no PIE lie within reach of address 0, and nothing of libprobe's may lie around it.
TEST(JumpReach, EndsWithTheAddressSpace) {
  constexpr std::uintptr_t low = 0x40'0000, high = 0x7fff'ff00'0000;
  const auto anywhere = shape_with({any, any, any, any});
  EXPECT_EQ(jump_reach(anywhere, low).next(0), 0x1'0000U);
  EXPECT_EQ(jump_reach(anywhere, low).next(low + 5 + 0x8000'0000), jump_reach::none);
  EXPECT_EQ(jump_reach(anywhere, high).next(0), high + 5 - 0x8000'0000);
  EXPECT_EQ(jump_reach(anywhere, high).next(0x7fff'ffff'0001), jump_reach::none);
  // A distance below -0x40'0005 leads below 0.
  const auto below = shape_with({any, any, any, trapping});
  EXPECT_EQ(jump_reach(below, low).next(0), jump_reach::none);
  EXPECT_EQ(jump_reach(below, low).next(~std::uintptr_t{0} - 0x1000'0000), jump_reach::none);
  EXPECT_EQ(jump_reach(below, high).next(0), high + 5 - 0x3400'0000);
  const auto above = shape_with({any, any, any, exactly(0x7f)});
  EXPECT_EQ(jump_reach(above, high).next(0), jump_reach::none);
}

std::optional<std::uintptr_t> place(hop_store& hops, const jump_shape& shape, std::uintptr_t address) {
  const auto found = hops.place(shape, address);
  return found ? found : hops.place_in_new_page(shape, address);
}

TEST(Hops, LieWhereTheShapeAllows) {
  hop_store hops;
  hops.expect(500);
  std::mt19937_64 random{2};
  std::vector<std::uintptr_t> placed;
  std::size_t refused = 0;
  for (std::size_t round = 0; round < 500; ++round) {
    // A few high bytes, so that pages are shared; the lower ones in all ways.
    std::array<std::optional<std::uint8_t>, 4> distance;
    for (std::size_t i = 0; i < 3; ++i) {
      const auto what = random() % 4;
      distance[i] = what == 0 ? exactly(random()) : what == 1 ? trapping : any;
    }
    distance[3] = round % 3 == 0 ? any : round % 3 == 1 ? trapping : exactly(round % 2 == 0 ? 0xf1 : 0xd1);
    const auto shape = shape_with(distance, static_cast<std::uint8_t>(random() % 4));
    const auto from = here + random() % 0x1000;
    const auto hop = place(hops, shape, from);
    if (!hop) {
      ++refused;
      continue;
    }
    ASSERT_TRUE(fits(shape, from, *hop)) << round;
    hops.lead(*hop, 0x1000 * (round + 1), here);
    placed.push_back(*hop);
  }
  EXPECT_LT(refused, 250U) << "the bound, or bytes that allow too little";
  EXPECT_GT(placed.size(), 200U);
  std::sort(placed.begin(), placed.end());
  for (std::size_t i = 1; i < placed.size(); ++i) ASSERT_GE(placed[i] - placed[i - 1], arch::hop_length);
  EXPECT_LE(hops.bytes(), hop_store::free_bytes + hop_store::bytes_a_probe * 500);
  hops.drop();
}

/// Its bytes are a jump there, and a thread in it is on its way.
TEST(Hops, LeadToTheirTarget) {
  hop_store hops;
  const auto shape = shape_with({any, any, trapping, exactly(0xe7)});
  const auto hop = place(hops, shape, here);
  ASSERT_TRUE(hop);
  const auto target = here + 0x1234'5678'9abc;  // farther than a near jump leads
  hops.lead(*hop, here, target);
  ASSERT_EQ(hops.write(), errc::ok);
  const auto code = test::bytes_at(reinterpret_cast<const void*>(*hop), arch::hop_length);
  // jmp *0(%rip), and the address behind it
  EXPECT_THAT(std::vector(code.begin(), code.begin() + 6), ElementsAre(0xff, 0x25, 0, 0, 0, 0));
  std::uintptr_t led = 0;
  std::memcpy(&led, &code[6], sizeof led);
  EXPECT_EQ(led, target);
  EXPECT_EQ(hops.hops(), 1U);
  // The same again is the same hop; another target, or a shape that does not lead there, is not.
  EXPECT_EQ(hops.known(shape, here, target), hop);
  EXPECT_FALSE(hops.known(shape, here, target + 1));
  EXPECT_FALSE(hops.known(shape, here + 1, target));
  EXPECT_FALSE(hops.known(shape_with({any, any, trapping, exactly(0xe8)}), here, target));
}

TEST(Hops, ShareAPage) {
  hop_store hops;
  const auto from = (here & ~std::uintptr_t{4095}) - 5;  // so that what the shape allows begins with a page
  const auto shape = shape_with({any, any, exactly(0x55), exactly(0xe2)});
  for (std::size_t i = 0; i < 4096 / arch::hop_length; ++i) {
    const auto hop =
        i == 0 ? place(hops, shape, from) : hops.place(shape, from);  // only the first may add memory
    ASSERT_TRUE(hop) << i;
    hops.lead(*hop, i + 1, here);
  }
  EXPECT_FALSE(hops.place(shape, from)) << "it is full";
  EXPECT_EQ(hops.bytes(), 4096U);
  hops.drop();
  EXPECT_EQ(hops.bytes(), 0U);
  EXPECT_EQ(hops.hops(), 0U);
}

TEST(Hops, AddNoPageWhereTheyMustNot) {
  hop_store hops;
  EXPECT_FALSE(hops.place(shape_with({any, any, exactly(0x55), exactly(0xe2)}), here));
  EXPECT_EQ(hops.bytes(), 0U);
}

TEST(Hops, AreNotPlacedTwiceAtOnePlace) {
  hop_store hops;
  // Below the program, where nothing lies: above it the kernel may put the heap.
  const auto one_place = shape_with({exactly(1), exactly(2), exactly(3), exactly(0xe4)});
  const auto hop = place(hops, one_place, here);
  ASSERT_TRUE(hop);
  EXPECT_EQ(*hop, here + 5 - 0x1bfc'fdff);
  EXPECT_FALSE(place(hops, one_place, here));
  hops.take_back(*hop);
  EXPECT_EQ(place(hops, one_place, here), hop);
  hops.drop();
}

TEST(Hops, AreRefusedWhereSomethingIsMapped) {
  hop_store hops;
  // Right behind the jump: this program's own text.
  EXPECT_FALSE(place(hops, shape_with({exactly(0), exactly(0), exactly(0), exactly(0)}), here));
  EXPECT_EQ(hops.bytes(), 0U);
}

TEST(Hops, AreRefusedOutsideOfTheAddressSpace) {
  hop_store hops;
  EXPECT_FALSE(place(hops, shape_with({any, any, any, exactly(0x80)}), 0x40'0000));  // below zero
  EXPECT_FALSE(place(hops, shape_with({any, any, any, exactly(0x7f)}), 0x7fff'fff0'0000));
  EXPECT_TRUE(place(hops, shape_with({any, any, any, exactly(0x10)}), 0x40'0000));
  hops.drop();
}

/// Each shape here needs a page of its own: at some number of hops there is no memory for more.
TEST(Hops, KeepTheBoundOfMemory) {
  hop_store hops;
  const auto shape = [](std::size_t i) {
    return shape_with({any, any, exactly(i), exactly(0xe2 + i / 256)});
  };
  std::size_t placed = 0, next = 0;
  const auto place_until = [&](std::size_t end, std::size_t bound) {
    for (; next < end; ++next) {
      const auto hop = place(hops, shape(next), here);
      EXPECT_EQ(hop.has_value(), (placed + 1) * 4096 <= bound) << next;
      EXPECT_LE(hops.bytes(), bound);
      if (!hop) continue;
      ++placed;
      hops.lead(*hop, next + 1, here);
    }
  };
  constexpr std::size_t free_pages = hop_store::free_bytes / 4096;
  hops.expect(12);
  place_until(free_pages + 10, hop_store::free_bytes + hop_store::bytes_a_probe * 12);
  EXPECT_EQ(placed, free_pages + 3);
  // Those that are there count, and those of the next registration.
  hops.expect(1);
  place_until(free_pages + 150, hop_store::free_bytes + hop_store::bytes_a_probe * (free_pages + 3 + 1));
  EXPECT_EQ(placed, free_pages + (free_pages + 3 + 1) / 4);
  // Known pages still have room.
  for (std::size_t i = 0; i < free_pages; ++i) EXPECT_TRUE(place(hops, shape(i), here));
  hops.drop();
}

TEST(Hops, GiveTheirPagesBackUnlessTheyWereWritten) {
  hop_store hops;
  const auto shape = [](std::size_t i) { return shape_with({any, any, exactly(i), exactly(0xe3)}); };
  const auto before = mappings();
  for (std::size_t i = 0; i < 20; i += 2) {  // not adjacent: each is a mapping
    const auto hop = place(hops, shape(i), here);
    ASSERT_TRUE(hop);
    hops.lead(*hop, i + 1, here);
  }
  EXPECT_EQ(mappings(), before + 10);
  hops.drop();
  EXPECT_EQ(mappings(), before);
  EXPECT_EQ(hops.bytes(), 0U);

  const auto kept = place(hops, shape(0), here);
  ASSERT_TRUE(kept);
  hops.lead(*kept, 1, here);
  ASSERT_EQ(hops.write(), errc::ok);
  const auto more = place(hops, shape(2), here);
  ASSERT_TRUE(more);
  const auto same_page = place(hops, shape(0), here);
  ASSERT_TRUE(same_page);
  hops.lead(*same_page, 2, here);
  hops.drop();
  EXPECT_EQ(mappings(), before + 1);
  EXPECT_EQ(hops.bytes(), 4096U);
  EXPECT_EQ(hops.hops(), 1U);
  EXPECT_EQ(hops.place(shape(0), here), same_page) << "given back";
  // Found but never led anywhere: write() gives those back, too.
  ASSERT_TRUE(place(hops, shape(4), here));
  ASSERT_EQ(hops.write(), errc::ok);
  EXPECT_EQ(hops.bytes(), 4096U);
}

}  // namespace
}  // namespace libprobe
