// Where jumps stand: every tactic, neighbours, inner boundaries, the ends of lines and pages; what
// list_probes() says of it; and the text as it was when they are gone.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <thread>

#include "site/site.hpp"
#include "support/jumping.hpp"

extern "C" {
int jump_over_long(int);
long jump_punned(long);
long jump_prefixed(long, unsigned char*);
long jump_several_one(long, unsigned char*);
long jump_several_two(long, unsigned char*);
long jump_nowhere(long, unsigned char*);
long jump_over_ud2(long, unsigned char*);
long jump_into(long, unsigned char*, const void*);
int jump_short(int);
int jump_loop_near(int, int);
int jump_loop_middle(int, int);
int jump_loop_far(int, int);
int jump_loop_ahead(int, int);
int jump_line_1(int);
int jump_line_2(int);
int jump_line_3(int);
int jump_line_4(int);
int jump_page_1(int);
int jump_page_2(int);
int jump_page_3(int);
int jump_page_4(int);
extern const std::uint8_t jump_prefixed_site[], jump_several_one_site[], jump_several_two_site[],
    jump_nowhere_site[], jump_over_ud2_site[], jump_loop_near_boundary[], jump_loop_middle_boundary[],
    jump_loop_far_boundary[], jump_loop_ahead_site[], jump_loop_ahead_boundary[];
}

namespace libprobe {
namespace {

using test::no_trap_survives;
using test::row_at;
using test::whole_function;
using testing::AnyOf;

probe counting(const void* at, probe_flags flags = probe_flags::none) {
  return {.at = at, .pre_handler = test::just_count, .flags = flags};
}

/// A _site's work: the low byte of the pointer is added to what it points to.
struct with_pointer {
  long (*function)(long, unsigned char*);
  int additions;

  void check() const {
    unsigned char cell = 5;
    EXPECT_EQ(function(77, &cell), 77);
    EXPECT_EQ(cell, after(&cell, additions));
  }
  static unsigned char after(unsigned char* cell, int additions) {
    return static_cast<unsigned char>(5 +
                                      additions * static_cast<int>(reinterpret_cast<std::uintptr_t>(cell)));
  }
};

/// Some function, the place of a probe in it, and the tactic that its bytes leave.
struct target {
  const char* tactic;
  const void* site;
  std::function<void()> check;
};

std::vector<target> one_of_each_tactic() {
  return {{"over_long", test::code_of(jump_over_long), [] { EXPECT_EQ(jump_over_long(3), 10); }},
          {"punned", test::code_of(jump_punned), [] { EXPECT_EQ(jump_punned(3), 12); }},
          {"prefixed", jump_prefixed_site,
           [] {
             with_pointer{jump_prefixed, 1}.check();
           }},
          {"over_several", jump_several_one_site,
           [] {
             with_pointer{jump_several_one, 2}.check();
           }},
          {"over_several", jump_several_two_site, [] {
             with_pointer{jump_several_two, 3}.check();
           }}};
}

TEST(Tactics, EachIsTakenWhereItsBytesAllowNoBetter) {
  const no_trap_survives guard;
  for (const auto& t : one_of_each_tactic()) {
    SCOPED_TRACE(t.tactic);
    const auto before = test::bytes_at(t.site, 16);
    auto p = counting(t.site);
    ASSERT_FALSE(register_probe(p));
    const auto row = row_at(t.site);
    EXPECT_TRUE(row.jump);
    EXPECT_EQ(row.tactic, t.tactic);
    EXPECT_EQ(row.reason, "");
    EXPECT_THAT(to_string(row), testing::HasSubstr("[JUMP]"));
    const auto first = test::bytes_at(t.site, 1)[0];
    EXPECT_TRUE(arch::may_begin_patch(first) && first != arch::breakpoint_bytes[0]);
    for (int i = 0; i < 10; ++i) t.check();
    EXPECT_EQ(hits(p), 10U);
    EXPECT_EQ(nmissed(p), 0U);
    unregister_probe(p);
    EXPECT_EQ(test::bytes_at(t.site, 16), before);
    t.check();
    EXPECT_EQ(hits(p), 10U);
  }
}

TEST(Tactics, NoneIsTakenAgainstTheUsersWish) {
  for (const auto& t : one_of_each_tactic()) {
    SCOPED_TRACE(t.tactic);
    const auto before = test::bytes_at(t.site, 16);
    auto p = counting(t.site, probe_flags::no_jump);
    ASSERT_FALSE(register_probe(p));
    const auto row = row_at(t.site);
    EXPECT_FALSE(row.jump);
    EXPECT_EQ(row.tactic, "breakpoint");
    EXPECT_EQ(row.reason, "");
    EXPECT_THAT(to_string(row), testing::HasSubstr("[TRAP]"));
    auto now = before;
    now[0] = arch::breakpoint_bytes[0];
    EXPECT_EQ(test::bytes_at(t.site, 16), now);
    for (int i = 0; i < 3; ++i) t.check();
    EXPECT_EQ(hits(p), 3U);
    // A second one without the wish does not get it a jump; alone it does.
    auto second = counting(t.site);
    ASSERT_FALSE(register_probe(second));
    EXPECT_FALSE(row_at(t.site).jump);
    t.check();
    EXPECT_EQ(hits(p), 4U);
    EXPECT_EQ(hits(second), 1U);
    unregister_probe(second);
    unregister_probe(p);
    EXPECT_EQ(test::bytes_at(t.site, 16), before);
    ASSERT_FALSE(register_probe(second));
    EXPECT_TRUE(row_at(t.site).jump);
    t.check();
    EXPECT_EQ(hits(second), 1U);
  }
}

TEST(Tactics, ALaterWishForATrapTakesTheJumpAway) {
  for (const auto& t : one_of_each_tactic()) {
    SCOPED_TRACE(t.tactic);
    auto first = counting(t.site);
    auto second = counting(t.site, probe_flags::no_jump);
    ASSERT_FALSE(register_probe(first));
    ASSERT_TRUE(row_at(t.site).jump);
    ASSERT_FALSE(register_probe(second));
    EXPECT_FALSE(row_at(t.site).jump);
    EXPECT_EQ(test::bytes_at(t.site, 1)[0], arch::breakpoint_bytes[0]);
    t.check();
    EXPECT_EQ(hits(first), 1U);
    EXPECT_EQ(hits(second), 1U);
  }
}

TEST(Tactics, TheReasonIsTold) {
  auto p = counting(jump_nowhere_site);
  ASSERT_FALSE(register_probe(p));
  const auto row = row_at(jump_nowhere_site);
  EXPECT_FALSE(row.jump);
  EXPECT_EQ(row.tactic, "breakpoint");
  EXPECT_NE(row.reason, "");
  with_pointer{jump_nowhere, 2}.check();
  EXPECT_EQ(hits(p), 1U);
}

/// Real code: every instruction of some of libz's functions, one after the other, so that each has its full
/// choice.
TEST(Tactics, AllAreReachedInALibrary) {
  std::map<std::string, int> taken;
  int traps = 0;
  void* const library = dlopen("libz.so.1", RTLD_NOW);
  ASSERT_NE(library, nullptr);
  for (const char* name : {"deflate", "inflate", "crc32_z", "adler32_z"}) {
    const whole_function f{dlsym(library, name)};
    const auto before = f.text();
    ASSERT_GT(f.instructions.size(), 50U);
    for (const auto* at : f.instructions) {
      auto p = counting(at);
      ASSERT_FALSE(register_probe(p)) << last_error_detail();
      const auto row = row_at(at);
      ASSERT_EQ(row.jump, row.tactic != "breakpoint");
      ASSERT_EQ(row.jump, row.reason.empty()) << row.reason;
      ++taken[row.tactic];
      if (!row.jump) ++traps;
    }
    EXPECT_EQ(f.text(), before) << name;
  }
  for (const char* tactic : {"over_long", "punned", "prefixed", "over_several"}) {
    EXPECT_GT(taken[tactic], 0) << tactic;
    std::cout << "  " << tactic << ": " << taken[tactic] << '\n';
  }
  std::cout << "  traps: " << traps << '\n';
  dlclose(library);
}

// ---- neighbours

/// The instructions of jump_short, all natively once a call.
class Neighbours : public testing::Test {
 protected:
  Neighbours() : f_{reinterpret_cast<const void*>(&jump_short)}, before_{f_.text()} {
    for (int x = -3; x < 4; ++x) native_.push_back(jump_short(x));
  }
  ~Neighbours() override { EXPECT_EQ(f_.text(), before_); }

  [[nodiscard]] std::size_t count() const { return f_.instructions.size(); }
  [[nodiscard]] const std::uint8_t* at(std::size_t i) const { return f_.instructions[i]; }
  [[nodiscard]] bool near(std::size_t i, std::size_t j) const {
    const auto gap = at(i) > at(j) ? at(i) - at(j) : at(j) - at(i);
    return gap < 5;
  }

  void add(std::size_t i) {
    auto p = std::unique_ptr<probe>(new probe(counting(at(i))));
    ASSERT_FALSE(register_probe(*p)) << last_error_detail();
    probes_[i] = {std::move(p), 0};
    check();
  }
  void remove(std::size_t i) {
    unregister_probe(*probes_[i].first);
    probes_.erase(i);
    check();
  }
  void check() {
    for (int x = -3; x < 4; ++x) ASSERT_EQ(jump_short(x), native_[static_cast<std::size_t>(x + 3)]);
    for (auto& [i, p] : probes_) {
      p.second += 7;
      ASSERT_EQ(hits(*p.first), p.second) << "at instruction " << i;
      ASSERT_EQ(nmissed(*p.first), 0U);
    }
    // Whatever has a jump has all its bytes, and nobody else's.
    for (const auto& [i, p] : probes_) {
      const auto row = row_at(at(i));
      ASSERT_EQ(row.jump, row.tactic != "breakpoint");
      ASSERT_EQ(test::bytes_at(at(i), 1)[0] != arch::breakpoint_bytes[0], row.jump);
    }
  }
  [[nodiscard]] std::string tactic_at(std::size_t i) const { return row_at(at(i)).tactic; }
  [[nodiscard]] std::string tactic_alone(std::size_t i) {
    auto p = counting(at(i));
    EXPECT_FALSE(register_probe(p));
    return tactic_at(i);
  }

 private:
  whole_function f_;
  std::vector<std::uint8_t> before_;
  std::vector<int> native_;
  std::map<std::size_t, std::pair<std::unique_ptr<probe>, std::uint64_t>> probes_;
};

TEST_F(Neighbours, TwoInEitherOrder) {
  std::size_t yielded = 0;
  for (std::size_t i = 0; i < count(); ++i) {
    for (std::size_t j = 0; j < count(); ++j) {
      if (i == j || !near(i, j)) continue;
      for (const bool first_goes_first : {true, false}) {
        SCOPED_TRACE(testing::Message() << i << ' ' << j << ' ' << first_goes_first);
        add(i);
        const auto alone = tactic_at(i);
        add(j);
        if (alone != "breakpoint" && tactic_at(i) == "breakpoint") {
          ++yielded;
          EXPECT_NE(row_at(at(i)).reason, "");
        }
        if (first_goes_first) {
          remove(i);
          EXPECT_TRUE(j > i || tactic_at(j) == "breakpoint" || row_at(at(j)).jump);
          remove(j);
        } else {
          remove(j);
          EXPECT_EQ(tactic_at(i), alone);
          EXPECT_EQ(row_at(at(i)).jump, alone != "breakpoint");
          remove(i);
        }
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(yielded, 0U);
}

TEST_F(Neighbours, ThreeInEveryOrder) {
  std::size_t returned = 0;
  for (std::size_t i = 0; i < count(); ++i) {
    for (std::size_t j = i + 1; j < count() && near(i, j); ++j) {
      for (std::size_t k = j + 1; k < count() && near(i, k); ++k) {
        std::array order{i, j, k};
        do {
          std::array removal = order;
          std::sort(removal.begin(), removal.end());
          do {
            SCOPED_TRACE(testing::Message() << order[0] << order[1] << order[2] << " removed as "
                                            << removal[0] << removal[1] << removal[2]);
            add(order[0]);
            const auto alone = tactic_at(order[0]);
            add(order[1]);
            add(order[2]);
            for (const auto n : removal) {
              remove(n);
              if (HasFatalFailure()) return;
              if (n == removal[1] && removal[2] == order[0]) {
                EXPECT_EQ(tactic_at(order[0]), alone);
                EXPECT_EQ(row_at(at(order[0])).jump, alone != "breakpoint");
                returned += alone != "breakpoint" ? 1 : 0;
              }
            }
          } while (std::next_permutation(removal.begin(), removal.end()));
        } while (std::next_permutation(order.begin(), order.end()));
      }
    }
  }
  EXPECT_GT(returned, 0U);
}

TEST_F(Neighbours, AllAtOnceAndInOneBatch) {
  for (std::size_t i = 0; i < count(); ++i) add(i);
  for (std::size_t i = 0; i < count(); i += 2) remove(i);
  for (std::size_t i = 1; i < count(); i += 2) remove(i);
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<probe*> batch;
  for (std::size_t i = 0; i < count(); ++i) {
    probes.push_back(std::unique_ptr<probe>(new probe(counting(at(i)))));
    batch.push_back(probes.back().get());
  }
  ASSERT_FALSE(register_probes(batch));
  for (int round = 0; round < 3; ++round) check();
  for (auto* p : batch) EXPECT_EQ(hits(*p), 21U);
  unregister_probes(batch);
  check();
}

/// While the second one rests, its text is the original, but the first one has not got its jump back.
TEST_F(Neighbours, ADisabledOneKeepsItsPlace) {
  std::size_t pairs = 0;
  for (std::size_t i = 0; i + 1 < count(); ++i) {
    SCOPED_TRACE(i);
    auto first = counting(at(i));
    auto second = counting(at(i + 1), probe_flags::disabled);
    ASSERT_FALSE(register_probe(first));
    if (!row_at(at(i)).jump) continue;
    ASSERT_FALSE(register_probe(second));
    check();
    ASSERT_FALSE(enable_probe(second));
    check();
    ASSERT_FALSE(disable_probe(first));
    check();
    ASSERT_FALSE(enable_probe(first));
    ASSERT_FALSE(disable_probe(second));
    check();
    EXPECT_EQ(hits(first), 21U);
    EXPECT_EQ(hits(second), 14U);
    unregister_probe(second);
    EXPECT_TRUE(row_at(at(i)).jump);
    check();
    EXPECT_EQ(hits(first), 28U);
    ++pairs;
  }
  EXPECT_GT(pairs, 3U);
}

TEST_F(Neighbours, ADisabledProbeLeavesNoTrace) {
  for (std::size_t i = 0; i < count(); ++i) {
    const auto before = test::bytes_at(at(i), 16);
    auto p = counting(at(i), probe_flags::disabled);
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(test::bytes_at(at(i), 16), before);
    EXPECT_FALSE(row_at(at(i)).jump);
    EXPECT_TRUE(row_at(at(i)).disabled);
    check();
    EXPECT_EQ(hits(p), 0U);
    ASSERT_FALSE(enable_probe(p));
    EXPECT_NE(test::bytes_at(at(i), 16), before);
    check();
    EXPECT_EQ(hits(p), 7U);
    ASSERT_FALSE(disable_probe(p));
    EXPECT_EQ(test::bytes_at(at(i), 16), before);
    check();
    EXPECT_EQ(hits(p), 7U);
  }
}

// ---- inner boundaries

std::uint32_t landings_at(const std::uint8_t* address) {
  const auto* at = site::landings.find(reinterpret_cast<std::uintptr_t>(address));
  return at != nullptr ? at->traps.load() : 0;
}

/// Nobody can know of a jump through a register: who comes to an inner boundary by it goes on as if no probe
/// were there.
TEST(InnerBoundaries, AreEnteredFromOutside) {
  const auto enter = [](const std::uint8_t* where, int additions, probe& p, std::uint64_t hits_then) {
    unsigned char cell = 5;
    EXPECT_EQ(jump_into(77, &cell, where), 77);
    EXPECT_EQ(cell, with_pointer::after(&cell, additions));
    EXPECT_EQ(hits(p), hits_then);
  };
  for (int round = 0; round < 3; ++round) {
    auto one = counting(jump_several_one_site);
    ASSERT_FALSE(register_probe(one));
    const auto traps = landings_at(jump_several_one_site + 1);
    enter(jump_several_one_site, 2, one, 1);
    enter(jump_several_one_site + 1, 2, one, 1);
    enter(jump_several_one_site + 3, 1, one, 1);
    enter(jump_several_one_site + 5, 0, one, 1);
    EXPECT_EQ(landings_at(jump_several_one_site + 1), traps + 1);
    unregister_probe(one);
    enter(jump_several_one_site + 1, 2, one, 1);
    EXPECT_EQ(landings_at(jump_several_one_site + 1), traps + 1);
  }
}

/// jump_several_two without its first instruction: rcx as it was, which jump_into makes the same. Who comes
/// so again and again has the jump go back to a breakpoint.
TEST(InnerBoundaries, AtTheSecondByteUntilTheJumpGivesUp) {
  auto p = counting(jump_several_two_site);
  ASSERT_FALSE(register_probe(p));
  constexpr int patience = 64;
  for (int i = 1; i <= 2 * patience; ++i) {
    const auto traps = landings_at(jump_several_two_site + 2);
    const bool jump = list_probes().at(0).jump;
    EXPECT_EQ(jump, i <= patience + 1) << i;
    unsigned char cell = 5;
    EXPECT_EQ(jump_into(77, &cell, jump_several_two_site + 2), 77);
    EXPECT_EQ(cell, with_pointer::after(&cell, 3));
    if (i <= patience) {
      EXPECT_EQ(landings_at(jump_several_two_site + 2), traps + 1);
    }
    EXPECT_EQ(hits(p), static_cast<std::uint64_t>(i - 1));
    with_pointer{jump_several_two, 3}.check();
  }
  const auto row = list_probes().at(0);
  EXPECT_EQ(row.tactic, "breakpoint");
  EXPECT_EQ(row.reason, "too many branches led into the jump");
  unregister_probe(p);
  with_pointer{jump_several_two, 3}.check();
}

/// A process forks while one of its threads makes a jump give up: the text is whole in both, and goes on from
/// there.
TEST(InnerBoundaries, ForksWhileAJumpGivesUp) {
  const auto original = test::bytes_at(jump_several_two_site, 16);
  const auto works = [](std::uint64_t hits_before, const probe& p) {
    for (int i = 0; i < 100; ++i) {
      unsigned char cell = 5, whole = 5;
      if (jump_into(77, &cell, jump_several_two_site + 2) != 77 || cell != with_pointer::after(&cell, 3))
        return false;
      if (jump_several_two(77, &whole) != 77 || whole != with_pointer::after(&whole, 3)) return false;
    }
    return hits(p) == hits_before + 100 && nmissed(p) == 0;
  };
  const auto ends_well = [&](probe& p) {
    if (!works(hits(p), p)) return 1;
    unregister_probe(p);
    if (test::bytes_at(jump_several_two_site, 16) != original) return 2;
    if (register_probe(p)) return 3;
    if (row_at(jump_several_two_site).tactic != "over_several") return 4;
    if (!works(0, p)) return 5;
    unregister_probe(p);
    return test::bytes_at(jump_several_two_site, 16) == original ? 0 : 6;
  };
  for (int round = 0; round < 40 && !HasFailure(); ++round) {
    auto p = counting(jump_several_two_site);
    ASSERT_FALSE(register_probe(p));
    std::atomic<int> came{0};
    std::atomic<bool> wrong{false}, forked{false};
    // While the process forks the text is not written; whoever comes afterwards has the jump give up.
    std::thread into{[&] {
      for (int afterwards = 0; afterwards < 100; ++came, afterwards += forked ? 1 : 0) {
        unsigned char cell = 5;
        if (jump_into(77, &cell, jump_several_two_site + 2) != 77 || cell != with_pointer::after(&cell, 3))
          wrong = true;
      }
    }};
    while (came < 60 + round % 8) {
    }
    EXPECT_EQ(test::told(test::status_of_child([&] { return ends_well(p); })), test::exited_with(0));
    forked = true;
    into.join();
    EXPECT_FALSE(wrong);
    EXPECT_EQ(row_at(jump_several_two_site).tactic, "breakpoint");
    EXPECT_EQ(ends_well(p), 0);
  }
}

/// The program's own action, set before libprobe sets its one.
struct own_illegal_instructions {
  static inline int signals = 0;
  static inline const void* where = nullptr;
  static inline bool expected = false;

  own_illegal_instructions() {
    struct sigaction action {};
    action.sa_sigaction = [](int, siginfo_t* info, void* frame) {
      if (!expected) std::abort();
      ++signals;
      where = info->si_addr;
      static_cast<ucontext_t*>(frame)->uc_mcontext.gregs[REG_RIP] += 2;
    };
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, nullptr);
  }
} const illegal_instructions;

/// An instruction that traps by itself is the program's own: before, in a window, and where one was.
TEST(InnerBoundaries, MayTrapByThemselves) {
  using own = own_illegal_instructions;
  own::expected = true;
  int expected = 0;
  const auto check = [&] {
    with_pointer{jump_over_ud2, 1}.check();
    EXPECT_EQ(own::signals, ++expected);
    EXPECT_EQ(own::where, jump_over_ud2_site + 1);
  };
  auto p = counting(jump_over_ud2_site);
  for (std::uint64_t i = 0; i < 3; ++i) {
    check();
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(row_at(jump_over_ud2_site).tactic, "over_several");
    check();
    check();
    EXPECT_EQ(hits(p), 2U);
    unregister_probe(p);
    check();
    check();
  }
  own::expected = false;
}

/// A branch that is there to be seen: no jump may cover where it leads.
TEST(InnerBoundaries, OfALoopAreLeftAlone) {
  struct loop {
    int (*function)(int, int);
    const std::uint8_t* first;
    const std::uint8_t* boundary;
  };
  const loop loops[] = {{jump_loop_near, test::code_of(jump_loop_near), jump_loop_near_boundary},
                        {jump_loop_middle, test::code_of(jump_loop_middle), jump_loop_middle_boundary},
                        {jump_loop_far, test::code_of(jump_loop_far), jump_loop_far_boundary},
                        {jump_loop_ahead, jump_loop_ahead_site, jump_loop_ahead_boundary}};
  for (const auto& l : loops) {
    ASSERT_EQ(l.boundary - l.first, 2);
    const auto traps = landings_at(l.boundary);
    auto first = counting(l.first);
    ASSERT_FALSE(register_probe(first));
    EXPECT_NE(row_at(l.first).tactic, "over_several");
    EXPECT_EQ(l.function(3, 20), 3 << 20);
    EXPECT_EQ(hits(first), 1U);
    auto inner = counting(l.boundary);
    ASSERT_FALSE(register_probe(inner));
    EXPECT_EQ(l.function(3, 20), 3 << 20);
    EXPECT_EQ(hits(first), 2U);
    EXPECT_EQ(hits(inner), 20U);
    unregister_probe(first);
    EXPECT_EQ(l.function(3, 20), 3 << 20);
    EXPECT_EQ(hits(inner), 40U);
    EXPECT_EQ(landings_at(l.boundary), traps);
  }
}

// ---- the ends of lines and pages

TEST(Windows, MayLieAcrossALineOrAPage) {
  struct edge {
    int (*function)(int);
    std::uintptr_t size, before;
  };
  const edge edges[] = {{jump_line_1, 64, 1},   {jump_line_2, 64, 2},   {jump_line_3, 64, 3},
                        {jump_line_4, 64, 4},   {jump_page_1, 4096, 1}, {jump_page_2, 4096, 2},
                        {jump_page_3, 4096, 3}, {jump_page_4, 4096, 4}};
  for (const auto& e : edges) {
    const auto* at = test::code_of(e.function);
    ASSERT_EQ((reinterpret_cast<std::uintptr_t>(at) + e.before) % e.size, 0U);
    const auto before = test::bytes_at(at, 8);
    for (int round = 0; round < 10; ++round) {
      auto p = counting(at);
      ASSERT_FALSE(register_probe(p));
      EXPECT_TRUE(row_at(at).jump);
      const no_trap_survives guard;
      EXPECT_EQ(e.function(3), 10);
      EXPECT_EQ(hits(p), 1U);
      unregister_probe(p);
      EXPECT_EQ(e.function(3), 10);
      EXPECT_EQ(test::bytes_at(at, 8), before);
    }
  }
}

// ---- again and again

std::size_t executable_bytes() {
  std::size_t sum = 0;
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  char line[512];
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    unsigned long from = 0, to = 0;
    char mode[5] = {};
    if (std::sscanf(line, "%lx-%lx %4s", &from, &to, mode) == 3 && mode[2] == 'x') {
      sum += to - from;
      EXPECT_NE(mode[1], 'w') << line;
    }
  }
  std::fclose(maps);
  return sum;
}

/// What was made for an address is used again when it is probed again.
void repeat(const target& t, bool in_turn) {
  const no_trap_survives guard;
  SCOPED_TRACE(t.tactic);
  {
    auto first = counting(t.site);  // guards stand from here on, and the code of the place is made
    ASSERT_FALSE(register_probe(first));
  }
  const auto memory = executable_bytes();
  for (int i = 0; i < 10000; ++i) {
    auto p = counting(t.site);
    if (in_turn ? i % 2 != 0 : i >= 5000) p.post_handler = [](probe&, registers&) {};
    ASSERT_FALSE(register_probe(p));
    if (i % 100 < 2) {
      const auto row = row_at(t.site);
      ASSERT_EQ(row.tactic, t.tactic) << i << ": " << row.reason;
    }
    t.check();
    ASSERT_EQ(hits(p), 1U);
  }
  EXPECT_LE(executable_bytes(), memory + 64 * 1024);
}

TEST(Repetition, NeitherLosesTheJumpNorMemory) {
  for (const auto& t : one_of_each_tactic()) repeat(t, false);
}

/// With and without a post_handler, which needs other code behind the same jump.
TEST(Repetition, InTurnWithOtherHandlers) {
  for (const auto& t : one_of_each_tactic()) repeat(t, true);
}

}  // namespace
}  // namespace libprobe
