// What handlers can do when they are reached by a jump: all that they can at a trap, in threads where a trap
// would be the end.
#include <gmock/gmock.h>

#include <array>
#include <cerrno>
#include <thread>

#include "support/jumping.hpp"

extern "C" {
int jump_branch_short(int);
int jump_branch_near(int);
int jump_call(int);
int jump_callee(int);
int jump_steps(int);
long jump_stack(long);
long jump_stack_with_room(long);
int jump_carry();
int jump_recursive(int);
int jump_over_long(int);
extern const std::uint8_t jump_branch_short_site[], jump_branch_near_site[], jump_branch_near_next[],
    jump_branch_near_target[], jump_call_site[], jump_call_next[], jump_ret_site[], jump_steps_1[],
    jump_steps_2[], jump_steps_3[], jump_steps_4[], jump_steps_5[], jump_steps_end[], jump_stack_push[],
    jump_stack_pop[], jump_carry_site[], jump_carry_next[];
extern const std::uint8_t* const jump_stack_end;
}

namespace libprobe {
namespace {

using testing::ElementsAre;

/// A probe with a jump, in a thread that no trap survives.
class jumping {
 public:
  explicit jumping(probe& p) : p_{p} {
    EXPECT_FALSE(register_probe(p_)) << last_error_detail();
    EXPECT_TRUE(test::row_at(address_of(p_)).jump) << test::row_at(address_of(p_)).reason;
  }
  ~jumping() { unregister_probe(p_); }
  jumping(const jumping&) = delete;
  jumping& operator=(const jumping&) = delete;

 private:
  probe& p_;
  test::no_trap_survives guard_;
};

template <class T>
const void* at(const T* site) {
  return site;
}

std::vector<std::uintptr_t> seen;
void note(const registers& regs) { seen.push_back(regs.ip()); }
template <class T>
std::uintptr_t number(const T* site) {
  return reinterpret_cast<std::uintptr_t>(site);
}

// ---- the registers, by a pre_handler

TEST(PreHandler, ChangesRegisters) {
  probe p{.at = at(jump_steps_3), .pre_handler = [](probe&, registers& regs) {
            EXPECT_EQ(regs.ip(), number(jump_steps_3));
            EXPECT_EQ(regs.rax, 2222U + 5U);
            regs.rax = 100;
            return 0;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_steps(5), 100 + 3333);
  EXPECT_EQ(hits(p), 1U);
}

TEST(PreHandler, WhatItSaysOfTheAddressIsNotLookedAtWhenItReturnsZero) {
  probe p{.at = at(jump_steps_3), .pre_handler = [](probe&, registers& regs) {
            regs.set_ip(jump_steps_end);
            return 0;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 5555);
}

TEST(PreHandler, SkipsTheInstruction) {
  probe p{.at = at(jump_steps_3), .pre_handler = [](probe&, registers& regs) {
            regs.set_ip(jump_steps_4);
            return 1;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 4444);
  EXPECT_EQ(hits(p), 1U);
}

TEST(PreHandler, GoesElsewhereInTheFunction) {
  probe forward{.at = at(jump_steps_2), .pre_handler = [](probe&, registers& regs) {
                  regs.set_ip(jump_steps_end);
                  regs.rax += 1;
                  return 1;
                }};
  {
    const jumping now{forward};
    EXPECT_EQ(jump_steps(0), 1112);
  }
  static int rounds;
  rounds = 0;
  probe back{.at = at(jump_steps_4), .pre_handler = [](probe&, registers& regs) {
               if (++rounds > 3) return 0;
               regs.set_ip(jump_steps_1);
               return 1;
             }};
  const jumping now{back};
  EXPECT_EQ(jump_steps(0), 3 * 3333 + 5555);
  EXPECT_EQ(hits(back), 4U);
}

TEST(PreHandler, MayStayInAnotherJumpsWayOut) {
  // Out of one probed instruction to another one: that is hit, too.
  probe to{.at = at(jump_steps_4), .pre_handler = test::just_count};
  probe from{.at = at(jump_steps_2), .pre_handler = [](probe&, registers& regs) {
               regs.set_ip(jump_steps_4);
               return 1;
             }};
  const jumping second{to};
  const jumping first{from};
  EXPECT_EQ(jump_steps(0), 3333);
  EXPECT_EQ(hits(from), 1U);
  EXPECT_EQ(hits(to), 1U);
}

TEST(PreHandler, OverridesTheReturn) {
  probe p{.at = &jump_over_long, .pre_handler = [](probe&, registers& regs) {
            override_return(regs, 42);
            return 1;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_over_long(1), 42);
}

TEST(PreHandler, EmulatesAPush) {
  probe p{.at = at(jump_stack_push), .pre_handler = [](probe&, registers& regs) {
            regs.rsp -= sizeof(std::uint64_t);
            *reinterpret_cast<std::uint64_t*>(regs.rsp) = 4711;
            regs.set_ip(jump_stack_push + 1);
            return 1;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_stack(3), 4711);
}

TEST(PreHandler, EmulatesAPop) {
  probe p{.at = at(jump_stack_pop), .pre_handler = [](probe&, registers& regs) {
            regs.rax = *reinterpret_cast<std::uint64_t*>(regs.rsp) + 1;
            regs.rsp += sizeof(std::uint64_t);
            regs.set_ip(jump_stack_end);
            return 1;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_stack(3), 4);
}

/// The stack pointer is moved, and the instruction runs on the stack as it then is.
TEST(PreHandler, MovesTheStackPointerAndLetsTheInstructionRun) {
  static std::array<std::uint64_t, 8192> other;  // hits use the stack below
  static std::uint64_t before;
  probe push{.at = at(jump_stack_push), .pre_handler = [](probe&, registers& regs) {
               before = regs.rsp;
               regs.rsp = reinterpret_cast<std::uint64_t>(&other[8000]);
               return 0;
             }};
  probe end{.at = at(jump_stack_end), .pre_handler = [](probe&, registers& regs) {
              EXPECT_EQ(regs.rsp, reinterpret_cast<std::uint64_t>(&other[8000]));
              regs.rsp = before;
              return 0;
            }};
  const jumping first{push};
  const jumping second{end};
  for (const bool several : {false, true}) {
    probe more{.at = several ? at(jump_stack_push) : at(jump_steps_1), .pre_handler = test::just_count};
    ASSERT_FALSE(register_probe(more));
    EXPECT_EQ(jump_stack(3), 3);
    EXPECT_EQ(other[7999], 3U);
    EXPECT_EQ(hits(push), several ? 2U : 1U);
    EXPECT_EQ(hits(end), several ? 2U : 1U);
    other[7999] = 0;
  }
}

/// Upwards, too: the frame of the hit lies in the way then.
TEST(PreHandler, MovesTheStackPointerByAnyDistance) {
  static std::uint64_t before, moved, back;
  static std::int64_t distance;
  probe push{.at = at(jump_stack_push), .pre_handler = [](probe&, registers& regs) {
               before = regs.rsp;
               back = *reinterpret_cast<std::uint64_t*>(regs.rsp);
               moved = regs.rsp + static_cast<std::uint64_t>(distance);
               regs.rsp = moved;
               regs.set_ip(jump_stack_end);
               return 1;
             }};
  // The return address may lie in the midst of this hit's own frame, overwritten: it is not read again.
  probe end{.at = at(jump_stack_end), .pre_handler = [](probe&, registers& regs) {
              EXPECT_EQ(regs.rsp, moved);
              regs.rsp = before + sizeof(std::uint64_t);
              regs.set_ip(back);
              regs.rax = 7;
              return 1;
            }};
  const jumping first{push};
  const jumping second{end};
  std::uint64_t rounds = 0;
  for (distance = -4096; distance <= 4096; distance += 8) {
    ASSERT_EQ(jump_stack_with_room(3), 7) << distance;
    ++rounds;
  }
  EXPECT_EQ(hits(push), rounds);
  EXPECT_EQ(hits(end), rounds);
}

TEST(PreHandler, ChangesFlags) {
  probe p{.at = at(jump_carry_site), .pre_handler = [](probe&, registers& regs) {
            EXPECT_EQ(regs.rflags & 1, 0U);
            regs.rflags |= 1;
            return 0;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_carry(), 1);
}

TEST(PreHandler, DecidesABranch) {
  for (const auto* site : {jump_branch_short_site, jump_branch_near_site}) {
    auto* const function = site == jump_branch_short_site ? jump_branch_short : jump_branch_near;
    probe p{.at = at(site), .pre_handler = [](probe&, registers& regs) {
              regs.rflags ^= 0x40;  // ZF
              return 0;
            }};
    const jumping now{p};
    EXPECT_EQ(function(0), 10);
    EXPECT_EQ(function(1), 20);
    EXPECT_EQ(hits(p), 2U);
  }
}

TEST(PreHandler, KeepsErrno) {
  probe p{.at = &jump_over_long, .pre_handler = [](probe&, registers&) {
            errno = ENOENT;
            return 0;
          }};
  const jumping now{p};
  errno = EAGAIN;
  jump_over_long(1);
  EXPECT_EQ(errno, EAGAIN);
}

// ---- post_handlers

class PostHandler : public testing::Test {
 protected:
  PostHandler() { seen.clear(); }
  static void see(probe&, registers& regs) { note(regs); }
};

TEST_F(PostHandler, RunsBehindACopy) {
  probe p{.at = at(jump_steps_3), .post_handler = [](probe&, registers& regs) {
            note(regs);
            EXPECT_EQ(regs.rax, 3333U);
            regs.rax = 7;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 7 + 2222);
  EXPECT_THAT(seen, ElementsAre(number(jump_steps_4)));
  EXPECT_EQ(hits(p), 1U);
}

TEST_F(PostHandler, FollowsAPreHandler) {
  probe p{.at = at(jump_steps_3),
          .pre_handler =
              [](probe&, registers& regs) {
                note(regs);
                regs.rax += 1;
                return 0;
              },
          .post_handler = see};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 5556);
  EXPECT_THAT(seen, ElementsAre(number(jump_steps_3), number(jump_steps_4)));
}

TEST_F(PostHandler, IsSkippedWithTheInstruction) {
  probe p{.at = at(jump_steps_3),
          .pre_handler =
              [](probe&, registers& regs) {
                regs.set_ip(jump_steps_4);
                return 1;
              },
          .post_handler = see};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 4444);
  EXPECT_TRUE(seen.empty());
}

TEST_F(PostHandler, GoesElsewhere) {
  probe p{.at = at(jump_steps_2), .post_handler = [](probe&, registers& regs) { regs.set_ip(jump_steps_5); }};
  const jumping now{p};
  EXPECT_EQ(jump_steps(0), 3333);
}

TEST_F(PostHandler, ChangesTheStackPointer) {
  static std::array<std::uint64_t, 8192> other;  // hits use the stack below
  static std::uint64_t before;
  other[8000] = 99;
  probe push{.at = at(jump_stack_push), .post_handler = [](probe&, registers& regs) {
               before = regs.rsp;
               EXPECT_EQ(*reinterpret_cast<std::uint64_t*>(regs.rsp), 3U);
               regs.rsp = reinterpret_cast<std::uint64_t>(&other[8000]);
             }};
  probe pop{.at = at(jump_stack_pop), .post_handler = [](probe&, registers& regs) {
              EXPECT_EQ(regs.rsp, reinterpret_cast<std::uint64_t>(&other[8001]));
              regs.rsp = before + 8;
            }};
  const jumping first{push};
  const jumping second{pop};
  EXPECT_EQ(jump_stack(3), 99);
}

TEST_F(PostHandler, ChangesFlags) {
  probe p{.at = at(jump_carry_site), .post_handler = [](probe&, registers& regs) { regs.rflags |= 1; }};
  const jumping now{p};
  EXPECT_EQ(jump_carry(), 1);
}

TEST_F(PostHandler, SeesWhereABranchLeads) {
  probe p{.at = at(jump_branch_near_site), .post_handler = see};
  const jumping now{p};
  EXPECT_EQ(jump_branch_near(1), 10);
  EXPECT_EQ(jump_branch_near(0), 20);
  EXPECT_THAT(seen, ElementsAre(number(jump_branch_near_next), number(jump_branch_near_target)));
}

TEST_F(PostHandler, SendsABranchElsewhere) {
  probe p{.at = at(jump_branch_near_site),
          .post_handler = [](probe&, registers& regs) { regs.set_ip(jump_branch_near_target); }};
  const jumping now{p};
  EXPECT_EQ(jump_branch_near(1), 20);
}

TEST_F(PostHandler, OfACallRunsInTheCallee) {
  probe p{.at = at(jump_call_site), .post_handler = [](probe&, registers& regs) {
            note(regs);
            EXPECT_EQ(*reinterpret_cast<std::uintptr_t*>(regs.sp()), number(jump_call_next));
            regs.rdi += 100;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_call(1), 103);
  EXPECT_THAT(seen, ElementsAre(number(test::code_of(jump_callee))));
}

TEST_F(PostHandler, OfAReturnRunsInTheCaller) {
  probe p{.at = at(jump_ret_site), .post_handler = [](probe&, registers& regs) {
            note(regs);
            regs.rax += 100;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_call(1), 103);
  EXPECT_THAT(seen, ElementsAre(number(jump_call_next)));
}

TEST_F(PostHandler, BranchesWithoutOneAreExact) {
  for (const auto* site : {jump_branch_short_site, jump_branch_near_site, jump_call_site, jump_ret_site}) {
    probe p{.at = at(site), .pre_handler = test::just_count};
    const jumping now{p};
    EXPECT_EQ(jump_branch_short(0), 20);
    EXPECT_EQ(jump_branch_short(1), 10);
    EXPECT_EQ(jump_branch_near(0), 20);
    EXPECT_EQ(jump_branch_near(1), 10);
    EXPECT_EQ(jump_call(1), 3);
    EXPECT_EQ(hits(p), site == jump_call_site || site == jump_ret_site ? 1U : 2U);
  }
}

TEST_F(PostHandler, ComesLaterToAnArmedPlace) {
  probe first{.at = at(jump_steps_3), .pre_handler = test::just_count};
  const jumping now{first};
  EXPECT_EQ(jump_steps(0), 5555);
  probe second{.at = at(jump_steps_3), .post_handler = see};
  {
    const jumping with_second{second};
    EXPECT_EQ(jump_steps(0), 5555);
    EXPECT_THAT(seen, ElementsAre(number(jump_steps_4)));
  }
  EXPECT_EQ(jump_steps(0), 5555);
  EXPECT_EQ(hits(first), 3U);
  EXPECT_EQ(hits(second), 1U);
  EXPECT_EQ(seen.size(), 1U);
}

// ---- several, nested, resting

TEST(Several, RunInOrderOfRegistration) {
  static std::string order;
  order.clear();
  const auto make = [](const char* name) {
    return probe{.at = at(jump_steps_3),
                 .pre_handler =
                     [](probe& p, registers&) {
                       order += static_cast<const char*>(p.context);
                       return 0;
                     },
                 .post_handler =
                     [](probe& p, registers&) {
                       order += '-';
                       order += static_cast<const char*>(p.context);
                     },
                 .context = const_cast<char*>(name)};
  };
  auto a = make("a"), b = make("b"), c = make("c");
  const jumping first{a}, second{b};
  {
    const jumping third{c};
    EXPECT_EQ(jump_steps(0), 5555);
    EXPECT_EQ(order, "abc-a-b-c");
    ASSERT_FALSE(disable_probe(b));
    order.clear();
    EXPECT_EQ(jump_steps(0), 5555);
    EXPECT_EQ(order, "ac-a-c");
  }
  order.clear();
  EXPECT_EQ(jump_steps(0), 5555);
  EXPECT_EQ(order, "a-a");
  EXPECT_EQ(hits(a), 3U);
  EXPECT_EQ(hits(b), 1U);
  EXPECT_EQ(hits(c), 2U);
}

TEST(Several, ThoseBehindARedirectionMiss) {
  probe first{.at = at(jump_steps_3), .pre_handler = [](probe&, registers& regs) {
                regs.set_ip(jump_steps_4);
                return 1;
              }};
  probe second{.at = at(jump_steps_3), .pre_handler = test::just_count};
  const jumping a{first}, b{second};
  EXPECT_EQ(jump_steps(0), 4444);
  EXPECT_EQ(hits(first), 1U);
  EXPECT_EQ(hits(second), 0U);
  EXPECT_EQ(nmissed(second), 1U);
}

TEST(Recursion, CountsAsMissed) {
  probe p{.at = &jump_recursive, .pre_handler = [](probe&, registers& regs) {
            const auto saved = regs;
            EXPECT_EQ(jump_recursive(3), 3);  // four hits
            EXPECT_EQ(std::memcmp(&saved, &regs, offsetof(registers, rip)), 0);
            return 0;
          }};
  const jumping now{p};
  EXPECT_EQ(jump_recursive(9), 9);
  EXPECT_EQ(hits(p), 10U);
  EXPECT_EQ(nmissed(p), 40U);
}

TEST(Recursion, OfOtherProbesInHandlersToo) {
  probe other{
      .at = at(jump_steps_3), .pre_handler = test::just_count, .post_handler = [](probe&, registers&) {}};
  probe p{.at = &jump_over_long,
          .pre_handler =
              [](probe&, registers&) {
                EXPECT_EQ(jump_steps(0), 5555);
                return 0;
              },
          .post_handler = [](probe&, registers&) { EXPECT_EQ(jump_steps(1), 5556); }};
  const jumping now{p};
  const jumping and_now{other};
  EXPECT_EQ(jump_over_long(1), 8);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(hits(other), 0U);
  EXPECT_EQ(nmissed(other), 2U);
}

TEST(Registration, FromAHandlerThatWasReachedByAJump) {
  static probe inner{.at = at(jump_steps_3), .pre_handler = test::just_count};
  probe p{.at = &jump_over_long, .pre_handler = [](probe&, registers&) {
            EXPECT_FALSE(register_probe(inner));
            return 0;
          }};
  {
    const jumping now{p};
    EXPECT_EQ(jump_over_long(1), 8);
    EXPECT_TRUE(test::row_at(jump_steps_3).jump);
    EXPECT_EQ(jump_steps(0), 5555);
  }
  EXPECT_EQ(hits(inner), 1U);
  unregister_probe(inner);
}

TEST(Registration, AProbeRemovesItselfFromItsHandler) {
  static probe p{.at = at(jump_steps_3), .pre_handler = [](probe& self, registers&) {
                   unregister_probe_fast(self);
                   return 0;
                 }};
  for (int i = 0; i < 100; ++i) {
    const jumping now{p};
    EXPECT_EQ(jump_steps(0), 5555);
    EXPECT_EQ(jump_steps(0), 5555);
    EXPECT_EQ(hits(p), 1U);
    commit_probes();
  }
}

// ---- what else begins at a function's entry

TEST(Entries, RetprobesWithoutATrap) {
  retprobe p{.at = &jump_over_long,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   EXPECT_EQ(i.data_as<int>(), 5);
                   regs.set_return_value(regs.return_value<int>() * 2);
                 },
             .entry_handler =
                 [](retprobe_instance& i, registers& regs) {
                   i.data_as<int>() = regs.argument<int>(0);
                   return 0;
                 },
             .data_size = sizeof(int)};
  ASSERT_FALSE(register_retprobe(p));
  EXPECT_TRUE(test::row_at(address_of(p)).jump);
  const test::no_trap_survives guard;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(jump_over_long(5), 24);
  EXPECT_EQ(hits(p), 10U);
}

TEST(Entries, RetprobesBesideProbes) {
  static int order;
  order = 0;
  probe before{.at = &jump_recursive,
               .pre_handler =
                   [](probe&, registers&) {
                     ++order;
                     return 0;
                   },
               .post_handler = [](probe&, registers&) { ++order; }};
  retprobe ret{.at = &jump_recursive, .handler = [](retprobe_instance&, registers& regs) { regs.rax += 10; }};
  const jumping now{before};
  ASSERT_FALSE(register_retprobe(ret));
  EXPECT_TRUE(test::row_at(address_of(ret)).jump);
  EXPECT_EQ(jump_recursive(4), 54);
  EXPECT_EQ(hits(before), 5U);
  EXPECT_EQ(hits(ret), 5U);
  EXPECT_EQ(order, 10);
  unregister_retprobe(ret);
  EXPECT_EQ(jump_recursive(4), 4);
}

int jprobed;
int see_argument(int x) {
  jprobed = x;
  return 0;
}
TEST(Entries, JprobesWithoutATrap) {
  jprobe p{.at = &jump_over_long, .entry = reinterpret_cast<void*>(&see_argument)};
  ASSERT_FALSE(register_jprobe(p));
  EXPECT_TRUE(test::row_at(address_of(p)).jump);
  const test::no_trap_survives guard;
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(jump_over_long(i), i + 7);
    EXPECT_EQ(jprobed, i);
  }
  EXPECT_EQ(hits(p), 10U);
}

TEST(Entries, AllKindsAtOnePlace) {
  probe k{.at = &jump_over_long, .pre_handler = test::just_count};
  jprobe j{.at = &jump_over_long, .entry = reinterpret_cast<void*>(&see_argument)};
  retprobe r{.at = &jump_over_long, .handler = [](retprobe_instance&, registers& regs) { regs.rax += 1; }};
  const jumping now{k};
  ASSERT_FALSE(register_jprobe(j));
  ASSERT_FALSE(register_retprobe(r));
  for (const auto& row : test::rows_at(address_of(k))) EXPECT_TRUE(row.jump) << row;
  EXPECT_EQ(jump_over_long(11), 19);
  EXPECT_EQ(jprobed, 11);
  EXPECT_EQ(hits(k), 1U);
  EXPECT_EQ(hits(j), 1U);
  EXPECT_EQ(hits(r), 1U);
  unregister_jprobe(j);
  EXPECT_EQ(jump_over_long(12), 20);
  unregister_retprobe(r);
  EXPECT_EQ(jump_over_long(13), 20);
  EXPECT_EQ(hits(k), 3U);
  EXPECT_EQ(jprobed, 11);
}

TEST(Threads, EachCountsItsOwnHits) {
  probe p{.at = at(jump_steps_3), .pre_handler = test::just_count, .post_handler = [](probe&, registers&) {}};
  const jumping now{p};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 10000; ++i) {
        if (jump_steps(i) != i + 5555) std::abort();
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(hits(p), 40000U);
  EXPECT_EQ(nmissed(p), 0U);
}

}  // namespace
}  // namespace libprobe
