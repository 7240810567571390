// Jump and trap are one: every mix of kinds on one function, placed in several orders, both ways in one
// process. Who sees a call, in what order, what comes of it, and what is counted must be the same.
#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <numeric>
#include <random>

#include "support/probing.hpp"

namespace libprobe {
namespace {

// ---- the function, and what is done with it ----
/// What the argument asks of whoever sees it.
enum : long {
  plainly = 1,
  left_alone,      // the second retprobe's entry handler does not follow it
  never_original,  // the replacement does not call the function
  taken_over,      // a pre_handler returns from the function in its place
  from_a_handler,  // a pre_handler calls the function itself
  early_return,    // the jprobe ends by jprobe_return()
  entry_throws,    // the jprobe throws
  return_throws,   // the first retprobe's return handler throws
  replacement_throws,
  twice,  // the replacement calls the function twice
  end_of_requests,
  thrown = -1,  // the function itself throws
};

[[gnu::noipa]] long target(long x) {
  asm volatile("nop; nop; nop; nop; nop; nop" : "+r"(x)::"memory");
  if (x < 0) throw x;
  return x + 100;
}

// No allocation: it is written in signal handlers, too.
std::array<char, 4096> log_text;
std::size_t log_size = 0;
void say(char letter) {
  if (log_size < log_text.size()) log_text[log_size++] = letter;
}
void say_number(long n) {
  std::array<char, 24> digits{};
  std::snprintf(digits.data(), digits.size(), "%ld", n);
  for (const char* c = digits.data(); *c != '\0'; ++c) say(*c);
}
std::string taken_log() {
  std::string all{log_text.data(), log_size};
  log_size = 0;
  return all;
}

/// All kinds. Capital letters: behind the instruction, at the return.
struct kinds {
  probe p{.at = &target,
          .pre_handler =
              [](probe&, registers&) {
                say('p');
                return 0;
              },
          .post_handler = [](probe&, registers&) { say('P'); }};
  probe q{.at = &target,
          .pre_handler =
              [](probe&, registers& regs) {
                say('q');
                if (regs.argument<long>(0) == from_a_handler) say_number(test::opaque(target)(50));
                return 0;
              },
          .post_handler = [](probe&, registers&) { say('Q'); }};
  probe t{.at = &target,
          .pre_handler =
              [](probe&, registers& regs) {
                say('t');
                if (regs.argument<long>(0) != taken_over) return 0;
                regs.set_return_value(77L);
                regs.set_ip(*reinterpret_cast<const std::uintptr_t*>(regs.rsp));
                regs.rsp += sizeof(std::uintptr_t);
                return 1;
              },
          .post_handler = [](probe&, registers&) { say('T'); }};
  retprobe r{.at = &target,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   say('R');
                   say_number(regs.return_value<long>());
                   if (i.data_as<long>() == return_throws) throw 8L;
                 },
             .entry_handler =
                 [](retprobe_instance& i, registers& regs) {
                   say('r');
                   i.data_as<long>() = regs.argument<long>(0);
                   return 0;
                 },
             .data_size = sizeof(long),
             .unwind_handler = [](retprobe_instance&) { say('U'); }};
  retprobe s{.at = &target,
             .handler =
                 [](retprobe_instance&, registers& regs) {
                   say('S');
                   regs.set_return_value(regs.return_value<long>() + 1);
                 },
             .entry_handler =
                 [](retprobe_instance&, registers& regs) {
                   say('s');
                   return regs.argument<long>(0) == left_alone ? 1 : 0;
                 },
             .unwind_handler = [](retprobe_instance&) { say('V'); }};
  jprobe j{.at = &target, .entry = reinterpret_cast<void*>(+[](long x) {
                            say('j');
                            if (x == early_return) jprobe_return();
                            if (x == entry_throws) throw 9L;
                            say('J');
                          })};
  replacement x{.at = &target, .entry = reinterpret_cast<void*>(+[](long value) {
                                 const auto* const self = current_replacement();
                                 say('x');
                                 if (value == never_original) return 1000L;
                                 if (value == replacement_throws) throw 10L;
                                 const auto run = reinterpret_cast<long (*)(long)>(original(*self));
                                 long result = run(value);
                                 if (value == twice) result += run(value);
                                 say('X');
                                 return result;
                               })};
  latency l{.at = &target};
  counter c{.at = &target};

  static constexpr std::size_t count = 9;

  void visit(std::size_t which, auto&& with) {
    switch (which) {
      case 0:
        return with(p, 'p');
      case 1:
        return with(q, 'q');
      case 2:
        return with(t, 't');
      case 3:
        return with(r, 'r');
      case 4:
        return with(s, 's');
      case 5:
        return with(j, 'j');
      case 6:
        return with(x, 'x');
      case 7:
        return with(l, 'l');
      default:
        return with(c, 'c');
    }
  }
  void place(std::size_t which, probe_flags flags) {
    visit(which, [flags](auto& one, char letter) {
      one.flags = flags;
      EXPECT_FALSE(batch{}.add(one).commit()) << letter << ": " << last_error_detail();
    });
  }
};

// ---- what is seen ----
std::string result_of(long x) {
  try {
    return "=" + std::to_string(test::opaque(target)(x));
  } catch (long value) {
    return "!" + std::to_string(value);
  }
}

/// Places those kinds in that order, calls the function with all requests, and takes them away: who saw what,
/// and what was counted. Nothing where the program could not do this.
std::string seen_with(const std::vector<std::size_t>& order, probe_flags flags, bool jump) {
  auto all = std::make_unique<kinds>();
  for (const auto which : order) all->place(which, flags);
  for (const auto& row : test::rows_at(test::code_of(&target))) EXPECT_EQ(row.jump, jump) << row;
  std::string told;
  for (long request = thrown; request < end_of_requests; ++request) {
    const auto result = result_of(request);
    told += std::to_string(request) + ":" + taken_log() + result + " ";
  }
  const auto timed = latencies_of(all->l).count();
  batch removal;
  for (const auto which : order) all->visit(which, [&](auto& one, char) { removal.remove(one); });
  EXPECT_FALSE(removal.commit());
  EXPECT_EQ(result_of(plainly) + taken_log(), "=101");
  for (const auto which : order) {
    all->visit(which, [&](auto& one, char letter) {
      told += letter + std::to_string(hits(one)) + "/" + std::to_string(nmissed(one)) + " ";
    });
  }
  return told + "timed " + std::to_string(timed);
}

std::string letters(const std::vector<std::size_t>& order) {
  std::string all;
  kinds unplaced;
  for (const auto which : order) unplaced.visit(which, [&](auto&, char letter) { all += letter; });
  return all;
}

enum class ordering { forwards, backwards, shuffled };
std::vector<std::size_t> in_order(unsigned mask, ordering how) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < kinds::count; ++i)
    if ((mask >> i & 1) != 0) order.push_back(i);
  if (how == ordering::backwards) std::ranges::reverse(order);
  if (how == ordering::shuffled) std::ranges::shuffle(order, std::minstd_rand{mask});
  return order;
}

class EveryMix : public testing::TestWithParam<ordering> {};
std::string name_of_order(const testing::TestParamInfo<ordering>& t) {
  constexpr const char* names[] = {"Forwards", "Backwards", "Shuffled"};
  return names[static_cast<int>(t.param)];
}
INSTANTIATE_TEST_SUITE_P(Placed, EveryMix,
                         testing::Values(ordering::forwards, ordering::backwards, ordering::shuffled),
                         name_of_order);

TEST_P(EveryMix, IsSeenAlikeByJumpAndByTrap) {
  int different = 0;
  for (unsigned mask = 1; mask < 1U << kinds::count; ++mask) {
    const auto order = in_order(mask, GetParam());
    if (order.size() == 1 && GetParam() != ordering::forwards) continue;
    const auto by_jump = seen_with(order, probe_flags::none, true);
    const auto by_trap = seen_with(order, probe_flags::no_jump, false);
    if (by_jump != by_trap && ++different <= 10) {
      ADD_FAILURE() << letters(order) << " are told\n  by jump " << by_jump << "\n  by trap " << by_trap;
    }
    ASSERT_FALSE(HasFatalFailure());
  }
  EXPECT_EQ(different, 0);
}

// ---- what is right, both ways ----
class BothWays : public testing::TestWithParam<bool> {
 protected:
  static std::string seen(const std::string& placed, long request) {
    std::vector<std::size_t> order;
    const std::string_view all = "pqtrsjxlc";
    for (const char letter : placed) order.push_back(all.find(letter));
    auto made = std::make_unique<kinds>();
    for (const auto which : order) made->place(which, GetParam() ? probe_flags::none : probe_flags::no_jump);
    const auto result = result_of(request);
    return taken_log() + result;
  }
};
INSTANTIATE_TEST_SUITE_P(By, BothWays, testing::Values(true, false),
                         [](const auto& t) { return std::string{t.param ? "Jump" : "Trap"}; });

TEST_P(BothWays, PostHandlersRunBehindTheDisplacedInstruction) {
  EXPECT_EQ(seen("p", plainly), "pP=101");
  EXPECT_EQ(seen("pq", plainly), "pqPQ=101");
  EXPECT_EQ(seen("qp", plainly), "qpQP=101");
  EXPECT_EQ(seen("pr", plainly), "prPR101=101");
  EXPECT_EQ(seen("pj", plainly), "pjJP=101");
  EXPECT_EQ(seen("pt", taken_over), "pt=77");
}

TEST_P(BothWays, AndNotWhereAReplacementTakesTheCall) {
  for (const char* placed : {"px", "xp"}) {
    EXPECT_EQ(seen(placed, plainly), "pxX=101") << "though it calls the original";
    EXPECT_EQ(seen(placed, twice), "pxX=220");
    EXPECT_EQ(seen(placed, never_original), "px=1000");
    EXPECT_EQ(seen(placed, replacement_throws), "px!10");
    EXPECT_EQ(seen(placed, thrown), "px!-1");
  }
  EXPECT_EQ(seen("pqx", plainly), "pqxX=101");
  EXPECT_EQ(seen("xpq", never_original), "pqx=1000");
  EXPECT_EQ(seen("pxl", plainly), "pxX=101");
  EXPECT_EQ(seen("xcp", plainly), "pxX=101");
  EXPECT_EQ(seen("pxr", plainly), "prxXR101=101");
}

// Before the function in order of registration, whichever kind: pre_handlers, entry handlers, jprobes. Then
// the replacement; or the function, with the post_handlers behind its first instruction. Then the return
// handlers.
TEST_P(BothWays, AllKindsRunInOneOrder) {
  EXPECT_EQ(seen("pqtrsjlc", plainly), "pqtrsjJPQTR101S=102");
  EXPECT_EQ(seen("cljsrtqp", plainly), "jJsrtqpTQPSR102=102");
  EXPECT_EQ(seen("rpjsqt", left_alone), "rpjJsqtPQTR102=102");
  EXPECT_EQ(seen("pqrsj", from_a_handler), "pq150rsjJPQR105S=106") << "inside a handler it runs alone";
  EXPECT_EQ(seen("ptqrsj", taken_over), "pt=77") << "those behind it miss the call";
  EXPECT_EQ(seen("jrsp", thrown), "jJrspPUV!-1");
  EXPECT_EQ(seen("jrsp", entry_throws), "j!9") << "as if the function had thrown, before all others";
  EXPECT_EQ(seen("jrsp", early_return), "jrspPR106S=107");
  EXPECT_EQ(seen("xpqtrsjlc", plainly), "pqtrsjJxXR101S=102");
  EXPECT_EQ(seen("cljsrtqpx", twice), "jJsrtqpxXSR221=221");
  EXPECT_EQ(seen("rxj", replacement_throws), "rjJxU!10");
}

}  // namespace
}  // namespace libprobe
