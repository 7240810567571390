// Return probes: handlers at both ends of a call, data per call, and how many calls are followed.
#include <errno.h>

#include <cstddef>
#include <memory>
#include <numeric>
#include <thread>
#include <vector>

#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

[[gnu::noinline]] long subject(long x) { return opaque(x) + 1; }
[[gnu::noinline]] long other(long x) { return opaque(x) + 2; }
[[gnu::noinline]] long sum_down(long n) { return n == 0 ? 0 : n + opaque(sum_down(n - 1)); }

TEST(Retprobe, SeesArgumentAndResult) {
  struct seen {
    long argument = 0, result = 0;
    void* caller = nullptr;
  } what;
  retprobe p{.at = &subject,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   auto& s = *static_cast<seen*>(i.probe().context);
                   s.result = regs.return_value<long>();
                   s.caller = i.return_address();
                   EXPECT_EQ(regs.ip(), reinterpret_cast<std::uintptr_t>(s.caller));
                 },
             .entry_handler =
                 [](retprobe_instance& i, registers& regs) {
                   static_cast<seen*>(i.probe().context)->argument = regs.argument<long>(0);
                   return 0;
                 },
             .context = &what};
  ASSERT_FALSE(register_retprobe(p));
  EXPECT_EQ(subject(41), 42);
  EXPECT_EQ(what.argument, 41);
  EXPECT_EQ(what.result, 42);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(address_of(p), test::code_of(&subject));
  unregister_retprobe(p);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 1U);
}

TEST(Retprobe, ChangesArgumentAndResult) {
  retprobe p{.at = &subject,
             .handler = [](retprobe_instance&,
                           registers& regs) { regs.set_return_value(regs.return_value<long>() * 10); },
             .entry_handler =
                 [](retprobe_instance&, registers& regs) {
                   regs.set_argument(0, regs.argument<long>(0) + 100);
                   return 0;
                 }};
  ASSERT_FALSE(register_retprobe(p));
  EXPECT_EQ(subject(1), 1020);
}

TEST(Retprobe, AnyOneHandlerIsEnough) {
  int count = 0;
  const auto counting = [](retprobe_instance& i, registers&) { ++*static_cast<int*>(i.probe().context); };
  retprobe at_return{.at = &subject, .handler = counting, .context = &count};
  retprobe at_entry{.at = &subject,
                    .entry_handler =
                        [](retprobe_instance& i, registers&) {
                          ++*static_cast<int*>(i.probe().context);
                          return 0;
                        },
                    .context = &count};
  retprobe none{.at = &subject};
  ASSERT_FALSE(register_retprobe(at_return));
  ASSERT_FALSE(register_retprobe(at_entry));
  EXPECT_EQ(register_retprobe(none), errc::no_handler);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(count, 2);
}

TEST(Retprobe, IsRefusedBehindAFunctionsEntry) {
  followed whole{&subject};
  for (int offset = 1; offset < 4; ++offset) {
    retprobe p{.at = test::code_of(&other) + offset, .handler = [](retprobe_instance&, registers&) {}};
    const auto answer = register_retprobe(p);
    EXPECT_TRUE(answer == errc::not_function_entry || answer == errc::not_instruction_boundary) << answer;
  }
  EXPECT_EQ(make_error_code(errc::not_function_entry), std::errc::invalid_argument);
}

TEST(Data, IsZeroedKeptAndAligned) {
  constexpr std::size_t size = 100;
  static int dirty, lost;
  dirty = lost = 0;
  retprobe p{.at = &sum_down,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   const auto* bytes = static_cast<unsigned char*>(i.data());
                   const auto value = static_cast<unsigned char>(regs.return_value<long>());
                   for (std::size_t n = 0; n < size; ++n) {
                     long argument = bytes[n];
                     if (static_cast<unsigned char>(argument * (argument + 1) / 2) != value) ++lost;
                   }
                 },
             .entry_handler =
                 [](retprobe_instance& i, registers& regs) {
                   auto* bytes = static_cast<unsigned char*>(i.data());
                   EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes) % alignof(std::max_align_t), 0U);
                   dirty += std::accumulate(bytes, bytes + size, 0);
                   std::memset(bytes, regs.argument<int>(0), size);
                   return 0;
                 },
             .maxactive = 32,
             .data_size = size};
  ASSERT_FALSE(register_retprobe(p));
  for (int round = 0; round < 10; ++round) EXPECT_EQ(sum_down(20), 210);
  EXPECT_EQ(dirty, 0);
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(hits(p), 210U);
}

TEST(EntryHandler, NonZeroLeavesTheCallAlone) {
  static int returns;
  returns = 0;
  retprobe p{.at = &sum_down,
             .handler = [](retprobe_instance&, registers&) { ++returns; },
             .entry_handler = [](retprobe_instance&, registers& regs) { return regs.argument<int>(0) % 2; },
             .maxactive = 6};
  ASSERT_FALSE(register_retprobe(p));
  for (int round = 0; round < 100; ++round) EXPECT_EQ(sum_down(10), 55);
  EXPECT_EQ(returns, 600) << "the even ones";
  EXPECT_EQ(nmissed(p), 0U) << "what is left alone takes no instance";
}

TEST(Maxactive, WhatDoesNotFitIsCounted) {
  for (const std::size_t maxactive : {1U, 2U, 7U}) {
    followed p{&sum_down, maxactive};
    for (std::uint64_t round = 1; round <= 5; ++round) {
      EXPECT_EQ(sum_down(19), 190);
      EXPECT_EQ(hits(p.probe()), round * maxactive);
      EXPECT_EQ(p.missed(), round * (20 - maxactive));
      EXPECT_TRUE(p.balanced());
    }
  }
}

TEST(Maxactive, TheDefaultIsAtLeast256) {
  followed p{&sum_down};
  EXPECT_EQ(sum_down(255), 32640);
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(p.returns(), 256U);
}

TEST(Recursion, TenThousandDeep) {
  followed p{&sum_down, 10001};
  for (int round = 0; round < 3; ++round) EXPECT_EQ(sum_down(10000), 50005000);
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(p.returns(), 30003U);
  EXPECT_TRUE(p.balanced());
}

TEST(Recursion, DeeperThanThereAreReturnSlots) {
  constexpr long depth = 20000;
  followed p{&sum_down, depth + 1};
  for (int round = 0; round < 2; ++round) EXPECT_EQ(sum_down(depth), depth * (depth + 1) / 2);
  EXPECT_GT(p.missed(), 0U);
  EXPECT_EQ(hits(p.probe()) + p.missed(), 2U * (depth + 1));
  EXPECT_TRUE(p.balanced());
}

TEST(SeveralAtOnce, RunInOrderOfRegistration) {
  static std::string order;
  order.clear();
  struct one {
    char name;
    retprobe p;
    explicit one(char n)
        : name{n}, p{.at = &subject, .handler = at_return, .entry_handler = at_entry, .context = this} {}
    static int at_entry(retprobe_instance& i, registers&) {
      order += static_cast<one*>(i.probe().context)->name;
      return 0;
    }
    static void at_return(retprobe_instance& i, registers&) {
      order += static_cast<char>(static_cast<one*>(i.probe().context)->name + 'A' - 'a');
    }
  };
  one a{'a'}, b{'b'}, c{'c'};
  for (auto* o : {&a, &b, &c}) ASSERT_FALSE(register_retprobe(o->p));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(order, "abcABC");
  order.clear();
  unregister_retprobe(b.p);
  ASSERT_FALSE(register_retprobe(b.p));
  ASSERT_FALSE(disable_retprobe(a.p));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(order, "cbCB");
}

TEST(SeveralAtOnce, OneOutOfInstances) {
  for (const bool small_first : {false, true}) {
    std::unique_ptr<followed> small;
    if (small_first) small = std::make_unique<followed>(&sum_down, 3);
    followed large{&sum_down, 101};
    if (!small_first) small = std::make_unique<followed>(&sum_down, 3);
    for (int round = 0; round < 10; ++round) EXPECT_EQ(sum_down(100), 5050);
    EXPECT_EQ(large.returns(), 1010U);
    EXPECT_EQ(large.missed(), 0U);
    EXPECT_EQ(small->returns(), 30U);
    EXPECT_EQ(small->missed(), 980U);
    EXPECT_TRUE(large.balanced() && small->balanced());
  }
}

std::string told;
void subject_entry(long x) { told += "j" + std::to_string(x); }

TEST(SeveralAtOnce, WithProbesAndJprobesAtTheSameAddress) {
  for (const bool jprobe_first : {false, true}) {
    told.clear();
    probe k{.at = &subject,
            .pre_handler =
                [](probe&, registers&) {
                  told += "k";
                  return 0;
                },
            .post_handler = [](probe&, registers&) { told += "K"; }};
    jprobe j{.at = &subject, .entry = reinterpret_cast<void*>(&subject_entry)};
    retprobe r{.at = &subject,
               .handler = [](retprobe_instance&, registers&) { told += "R"; },
               .entry_handler =
                   [](retprobe_instance&, registers&) {
                     told += "r";
                     return 0;
                   }};
    ASSERT_FALSE(register_probe(k));
    ASSERT_FALSE(jprobe_first && register_jprobe(j));
    ASSERT_FALSE(register_retprobe(r));
    ASSERT_FALSE(!jprobe_first && register_jprobe(j));
    EXPECT_EQ(subject(7), 8);
    EXPECT_EQ(told, jprobe_first ? "kj7rKR" : "krj7KR");
  }
}

TEST(Threads, EachFollowsItsOwnCalls) {
  followed p{&sum_down, 4 * 51}, q{&subject, 4};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (long i = 0; i < 200; ++i) {
        EXPECT_EQ(sum_down(50), 1275);
        EXPECT_EQ(subject(i * t), i * t + 1);
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(p.returns(), 4U * 200 * 51);
  EXPECT_EQ(q.returns(), 4U * 200);
  EXPECT_EQ(p.missed() + q.missed(), 0U);
  EXPECT_TRUE(p.balanced() && q.balanced());
}

TEST(Handlers, LeaveErrnoAlone) {
  retprobe p{.at = &subject,
             .handler =
                 [](retprobe_instance&, registers&) {
                   EXPECT_EQ(errno, ERANGE);
                   errno = EINTR;
                 },
             .entry_handler =
                 [](retprobe_instance&, registers&) {
                   EXPECT_EQ(errno, ERANGE);
                   errno = EAGAIN;
                   return 0;
                 }};
  ASSERT_FALSE(register_retprobe(p));
  errno = ERANGE;
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(errno, ERANGE);
}

TEST(Handlers, RunNoOtherHandlers) {
  followed q{&other};
  retprobe p{.at = &subject, .handler = [](retprobe_instance&, registers&) { EXPECT_EQ(other(1), 3); }};
  ASSERT_FALSE(register_retprobe(p));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(q.entries(), 0U);
  EXPECT_EQ(q.missed(), 1U);
  EXPECT_EQ(other(1), 3);
  EXPECT_EQ(q.returns(), 1U);
}

TEST(Handlers, MayAllocateAndThrowAtTheReturn) {
  retprobe p{.at = &subject,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   if (regs.return_value<long>() > 5) throw std::string(100, 'x');
                   *static_cast<std::unique_ptr<long>*>(i.probe().context) =
                       std::make_unique<long>(regs.return_value<long>());
                 },
             .maxactive = 1};
  std::unique_ptr<long> last;
  p.context = &last;
  followed around{&subject, 1};
  ASSERT_FALSE(register_retprobe(p));
  for (long i = 0; i < 100; ++i) {
    try {
      EXPECT_EQ(subject(i), i + 1);
      EXPECT_LT(i, 5);
    } catch (const std::string& s) {
      EXPECT_EQ(s.size(), 100U);
      EXPECT_GE(i, 5);
    }
  }
  EXPECT_EQ(*last, 5);
  EXPECT_EQ(hits(p), 100U);
  EXPECT_EQ(nmissed(p), 0U) << "their instances came back";
  EXPECT_EQ(around.returns(), 100U);
}

TEST(OverrideReturn, IsAReturnToo) {
  struct seen {
    long result = 0;
    int count = 0;
  } what;
  retprobe r{.at = &subject,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   auto& s = *static_cast<seen*>(i.probe().context);
                   s.result = regs.return_value<long>();
                   ++s.count;
                 },
             .context = &what};
  probe k{.at = &subject, .pre_handler = [](probe&, registers& regs) {
            override_return(regs, 77L);
            return 1;
          }};
  ASSERT_FALSE(register_retprobe(r));
  ASSERT_FALSE(register_probe(k));
  for (int i = 1; i <= 10; ++i) {
    EXPECT_EQ(subject(1), 77);
    EXPECT_EQ(what.result, 77);
    EXPECT_EQ(what.count, i);
  }
  // Registered before the retprobe, it ends the call before the retprobe has heard of it.
  unregister_retprobe(r);
  ASSERT_FALSE(register_retprobe(r));
  EXPECT_EQ(subject(1), 77);
  EXPECT_EQ(what.count, 10);
  EXPECT_EQ(nmissed(r), 1U);
}

TEST(Disabled, FollowsNoFurtherCall) {
  followed p{&subject};
  EXPECT_EQ(subject(1), 2);
  ASSERT_FALSE(disable_retprobe(p.probe()));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(p.entries(), 1U);
  ASSERT_FALSE(enable_retprobe(p.probe()));
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(p.returns(), 2U);
  retprobe later{
      .at = &other, .handler = [](retprobe_instance&, registers&) {}, .flags = probe_flags::disabled};
  ASSERT_FALSE(register_retprobe(later));
  EXPECT_EQ(other(1), 3);
  EXPECT_EQ(hits(later), 0U);
  ASSERT_FALSE(enable_retprobe(later));
  EXPECT_EQ(other(1), 3);
  EXPECT_EQ(hits(later), 1U);
}

TEST(Noreturn, FunctionsMayBeFollowed) {
  const auto body = [] {
    followed p{"libc.so.6:_exit"};
    followed q{"libc.so.6:exit"};
    exit(23);
    return 0;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(23));
}

TEST(Names, RetprobesAreListedWithTheirKind) {
  followed p{&subject};
  const auto rows = test::rows_at(reinterpret_cast<const void*>(&subject));
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].kind, 'r');
}

}  // namespace
}  // namespace libprobe
