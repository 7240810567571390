// What handlers see and may do: their order, skipping, resting, recursion, the instruction pointer, errno.
#include <gmock/gmock.h>
#include <sys/syscall.h>

#include <cerrno>
#include <memory>

#include "support/probing.hpp"

asm(R"(
        .text
        .p2align 4
        .type semantics_steps, @function
semantics_steps:                        # x -> (x + 1) * 2 + 3; boundaries: 0 4 8 12
        lea     1(%rdi), %rax
        lea     (%rax,%rax), %rax
        add     $3, %rax
        ret
        .size semantics_steps, .-semantics_steps
)");

extern "C" {
long semantics_steps(long);
}

namespace libprobe {
namespace {

using test::just_count;
using testing::ElementsAre;

[[gnu::noinline]] int subject(int x) { return test::opaque(x) + 1; }
[[gnu::noinline]] int other(int x) { return test::opaque(x) + 2; }
[[gnu::noinline]] double half(double x) { return test::opaque(x) / 2; }
[[gnu::noinline]] const char* text_of(int) { return test::opaque("own"); }
int side_effects = 0;
[[gnu::noinline]] void effect() { ++side_effects; }

std::vector<int> order;
int note(probe& p, registers&) {
  order.push_back(static_cast<int>(reinterpret_cast<std::intptr_t>(p.context)));
  return 0;
}
void note_after(probe& p, registers&) {
  order.push_back(100 + static_cast<int>(reinterpret_cast<std::intptr_t>(p.context)));
}
void* number(std::intptr_t n) { return reinterpret_cast<void*>(n); }

struct Handlers : testing::Test {
  Handlers() { order.clear(); }
};

TEST_F(Handlers, RunInOrderOfRegistration) {
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<int> expected;
  for (int i = 1; i <= 10; ++i) {
    probes.emplace_back(new probe{.at = &subject,
                                  .pre_handler = note,
                                  .post_handler = i % 2 == 0 ? note_after : nullptr,
                                  .context = number(i)});
    expected.push_back(i);
  }
  // One by one and in a batch: the batch's order is that of its span.
  for (int i = 0; i < 5; ++i) ASSERT_FALSE(register_probe(*probes[i]));
  std::vector<probe*> rest;
  for (int i = 5; i < 10; ++i) rest.push_back(probes[i].get());
  ASSERT_FALSE(register_probes(rest));
  for (int i = 2; i <= 10; i += 2) expected.push_back(100 + i);
  order.reserve(64);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(order, expected);
  for (const auto& p : probes) EXPECT_EQ(hits(*p), 1U);

  // The one that is registered anew goes to the end.
  unregister_probe(*probes[0]);
  ASSERT_FALSE(register_probe(*probes[0]));
  order.clear();
  EXPECT_EQ(subject(1), 2);
  ASSERT_EQ(order.size(), 15U);
  EXPECT_EQ(order[0], 2);
  EXPECT_EQ(order[9], 1);
}

TEST_F(Handlers, ANonZeroPreHandlerSkipsTheInstructionAndAllThatFollow) {
  probe before{.at = semantics_steps, .pre_handler = note, .post_handler = note_after, .context = number(1)};
  probe skip{.at = semantics_steps,
             .pre_handler =
                 [](probe& p, registers& regs) {
                   note(p, regs);
                   regs.rax = 50;
                   regs.set_ip(regs.ip() + 8);  // behind both lea
                   return 1;
                 },
             .post_handler = note_after,
             .context = number(2)};
  probe late{.at = semantics_steps, .pre_handler = note, .post_handler = note_after, .context = number(3)};
  probe* const all[] = {&before, &skip, &late};
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(semantics_steps(1), 53);
  EXPECT_THAT(order, ElementsAre(1, 2));
  EXPECT_EQ(hits(before), 1U);
  EXPECT_EQ(hits(skip), 1U);
  EXPECT_EQ(hits(late), 0U);
  EXPECT_EQ(nmissed(late), 1U);
  ASSERT_FALSE(disable_probe(skip));
  EXPECT_EQ(semantics_steps(1), 7);
  EXPECT_EQ(hits(late), 1U);
}

TEST_F(Handlers, ReturningZeroTheInstructionPointerIsNotLookedAt) {
  probe p{.at = semantics_steps, .pre_handler = [](probe&, registers& regs) {
            regs.set_ip(std::uintptr_t{1});
            return 0;
          }};
  ASSERT_FALSE(register_probe(p));
  EXPECT_EQ(semantics_steps(1), 7);
}

std::uintptr_t seen_before = 0, seen_after = 0;
TEST_F(Handlers, TheInstructionPointerIsTheProbedOneThenTheNext) {
  for (const std::size_t offset : {0, 4, 8}) {
    for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
      probe p{.at = static_cast<const void*>(test::code_of(semantics_steps) + offset),
              .pre_handler =
                  [](probe& self, registers& regs) {
                    EXPECT_EQ(regs.ip(), reinterpret_cast<std::uintptr_t>(address_of(self)));
                    seen_before = regs.ip();
                    return 0;
                  },
              .post_handler = [](probe&, registers& regs) { seen_after = regs.ip(); },
              .flags = flags};
      ASSERT_FALSE(register_probe(p));
      EXPECT_EQ(semantics_steps(1), 7);
      EXPECT_EQ(seen_before, reinterpret_cast<std::uintptr_t>(test::code_of(semantics_steps)) + offset);
      EXPECT_EQ(seen_after, seen_before + 4);
    }
  }
}

TEST_F(Handlers, APostHandlerSeesTheEffectAndMayGoElsewhere) {
  for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
    probe p{.at = semantics_steps,
            .post_handler =
                [](probe&, registers& regs) {
                  EXPECT_EQ(regs.rax, 2U);
                  regs.rax = 10;
                  regs.set_ip(regs.ip() + 4);
                },
            .flags = flags};
    ASSERT_FALSE(register_probe(p));
    EXPECT_EQ(semantics_steps(1), 13);
    EXPECT_EQ(hits(p), 1U);
  }
}

TEST_F(Handlers, ThoseOfOneProbeStayAsTheyWereAtRegistration) {
  probe p{.at = &subject, .pre_handler = note, .context = number(1)};
  ASSERT_FALSE(register_probe(p));
  p.pre_handler = nullptr;
  p.context = number(2);  // the user's own: not looked at, so changeable
  EXPECT_EQ(subject(1), 2);
  EXPECT_THAT(order, ElementsAre(2));
}

TEST(Resting, TextIsRestoredWhenAllProbesOfAPlaceRest) {
  const auto before = test::bytes_at(test::code_of(&subject), 8);
  probe a{.at = &subject, .pre_handler = just_count};
  probe b{.at = &subject, .pre_handler = just_count, .flags = probe_flags::disabled};
  ASSERT_FALSE(register_probe(b));
  EXPECT_EQ(test::bytes_at(test::code_of(&subject), 8), before);
  ASSERT_FALSE(register_probe(a));
  EXPECT_NE(test::bytes_at(test::code_of(&subject), 8), before);
  EXPECT_EQ(subject(1), 2);
  ASSERT_FALSE(enable_probe(b));
  ASSERT_FALSE(enable_probe(b));
  EXPECT_EQ(subject(1), 2);
  ASSERT_FALSE(disable_probe(a));
  EXPECT_EQ(subject(1), 2);
  EXPECT_NE(test::bytes_at(test::code_of(&subject), 8), before);
  ASSERT_FALSE(disable_probe(b));
  EXPECT_EQ(test::bytes_at(test::code_of(&subject), 8), before);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(a), 2U);
  EXPECT_EQ(hits(b), 2U);
  EXPECT_EQ(nmissed(a) + nmissed(b), 0U) << "a probe that rests misses nothing";
  unregister_probe(a);
  ASSERT_FALSE(enable_probe(b));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(b), 3U);
}

TEST(Recursion, AHitInsideAHandlerRunsNoHandlerAndCounts) {
  probe inner{.at = &other, .pre_handler = just_count, .post_handler = [](probe&, registers&) {}};
  probe outer{.at = &subject,
              .pre_handler =
                  [](probe&, registers&) {
                    EXPECT_EQ(other(5), 7);
                    EXPECT_EQ(subject(5), 6);  // itself, too
                    return 0;
                  },
              .post_handler = [](probe&, registers&) { EXPECT_EQ(other(6), 8); }};
  ASSERT_FALSE(register_probe(inner));
  ASSERT_FALSE(register_probe(outer));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(outer), 1U);
  EXPECT_EQ(nmissed(outer), 1U);
  EXPECT_EQ(hits(inner), 0U);
  EXPECT_EQ(nmissed(inner), 2U);
  EXPECT_EQ(other(1), 3);
  EXPECT_EQ(hits(inner), 1U) << "afterwards all is as before";
}

TEST(Recursion, AHandlerMayUseAProbedLibcFunction) {
  probe in_libc{.at = "libc.so.6:getenv", .pre_handler = just_count};
  probe user{.at = &subject, .pre_handler = [](probe&, registers&) {
               EXPECT_NE(test::opaque(&getenv)("PATH"), nullptr);
               return 0;
             }};
  ASSERT_FALSE(register_probe(in_libc));
  ASSERT_FALSE(register_probe(user));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(subject(i), i + 1);
  EXPECT_EQ(hits(in_libc), 0U);
  EXPECT_EQ(nmissed(in_libc), 10U);
  EXPECT_NE(getenv("PATH"), nullptr);
  EXPECT_EQ(hits(in_libc), 1U);
}

TEST(Recursion, LibprobesOwnCallsOfProbedFunctionsRunNoHandler) {
  probe allocator{.at = "libc.so.6:malloc", .pre_handler = just_count};
  probe writer{.at = "libc.so.6:pwrite64", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(allocator));
  ASSERT_FALSE(register_probe(writer));
  probe p{.at = &subject, .pre_handler = just_count};
  const auto hits_before = hits(allocator), missed_before = nmissed(allocator);
  const auto refused = register_probe(p);
  const auto hits_now = hits(allocator), missed_now = nmissed(allocator);
  ASSERT_FALSE(refused);
  EXPECT_EQ(subject(1), 2);
  unregister_probe(p);
  EXPECT_EQ(hits_now, hits_before);
  EXPECT_GT(missed_now, missed_before);
  // Its system calls are its own.
  EXPECT_EQ(hits(writer), 0U);
  EXPECT_EQ(nmissed(writer), 0U);
}

TEST(Errno, IsPreservedAcrossAHit) {
  probe p{.at = &subject,
          .pre_handler =
              [](probe&, registers&) {
                errno = EBADF;
                return 0;
              },
          .post_handler = [](probe&, registers&) { errno = ENOSYS; }};
  ASSERT_FALSE(register_probe(p));
  errno = ERANGE;
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(errno, ERANGE);
}

TEST(OverrideReturn, OfEachClass) {
  probe integer{.at = &subject, .pre_handler = [](probe&, registers& regs) {
                  override_return(regs, regs.argument<int>(0) == 1 ? -5 : 5);
                  return 1;
                }};
  probe floating{.at = &half, .pre_handler = [](probe&, registers& regs) {
                   override_return(regs, regs.argument<double>(0) + 0.25);
                   return 1;
                 }};
  probe pointer{.at = &text_of, .pre_handler = [](probe&, registers& regs) {
                  override_return(regs, "handler's");
                  return 1;
                }};
  probe nothing{.at = &effect, .pre_handler = [](probe&, registers& regs) {
                  override_return(regs);
                  return 1;
                }};
  probe* const all[] = {&integer, &floating, &pointer, &nothing};
  ASSERT_FALSE(register_probes(all));
  EXPECT_EQ(subject(1), -5);
  EXPECT_EQ(subject(2), 5);
  EXPECT_EQ(half(3.0), 3.25);
  EXPECT_STREQ(text_of(0), "handler's");
  effect();
  EXPECT_EQ(side_effects, 0);
  unregister_probes(all);
  effect();
  EXPECT_EQ(side_effects, 1);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(half(3.0), 1.5);
}

TEST(Where, FunctionsAreFoundByEachKindOfLocation) {
  probe by_pointer{.at = &subject, .pre_handler = just_count};
  probe by_address{.at = static_cast<const void*>(test::code_of(&subject)), .pre_handler = just_count};
  probe by_name{.at = "libprobe::(anonymous namespace)::subject(int)", .pre_handler = just_count};
  probe by_number{.at = "0x" +
                        [] {
                          char text[32];
                          snprintf(text, sizeof text, "%lx", reinterpret_cast<unsigned long>(&subject));
                          return std::string{text};
                        }(),
                  .pre_handler = just_count};
  probe inside{.at = "semantics_steps+0x8", .pre_handler = just_count};
  probe* const all[] = {&by_pointer, &by_address, &by_name, &by_number, &inside};
  ASSERT_FALSE(register_probes(all)) << last_error_detail();
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(semantics_steps(1), 7);
  for (auto* p : all) EXPECT_EQ(hits(*p), 1U);
}

TEST(Where, APltStubIsFollowedToTheFunctionThatRuns) {
  probe p{.at = &::getppid, .pre_handler = just_count};
  probe same{.at = "libc.so.6:getppid", .pre_handler = just_count};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(same));
  EXPECT_EQ(getppid(), syscall(SYS_getppid));
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(address_of(p), address_of(same));
}

}  // namespace
}  // namespace libprobe
