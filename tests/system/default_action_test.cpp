// The default action and ignored signals. Each case is a child that registers its first probe itself: what
// libprobe finds in place then is the action that the case is about.
#include <signal.h>
#include <ucontext.h>

#include "support/own_faults.hpp"
#include "support/probing.hpp"
#include "system/fault_targets.hpp"
#include "system/trap_targets.hpp"

namespace libprobe {
namespace {

using test::at;
using test::bad_cases;
using test::entry;
using test::just_count;

[[gnu::noinline]] int subject(int x) { return test::opaque(x) + 1; }

TEST(DefaultAction, KillsWithTheRightSignal) {
  for (const auto& one : bad_cases) {
    for (const auto flags : {probe_flags::none, probe_flags::single_step}) {
      const auto body = [&] {
        static probe p{.at = at(one.probed),
                       .pre_handler = just_count,
                       .fault_handler = [](probe&, registers&, int) { return false; },
                       .flags = flags};
        if (register_probe(p)) return 1;
        one.run();
        return 2;
      };
      EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(one.signo)) << one.name;
    }
  }
}

TEST(DefaultAction, KillsForFaultsWithoutProbesAndForSentSignals) {
  for (const auto& one : bad_cases) {
    const auto faults = [&] {
      static probe p{.at = at(entry(fault_answer)), .pre_handler = just_count};
      if (register_probe(p)) return 1;
      one.run();
      return 2;
    };
    EXPECT_EQ(test::told(test::status_of_child(faults)), test::killed_by(one.signo)) << one.name;
    const auto sent = [&] {
      static probe p{.at = at(entry(fault_answer)), .pre_handler = just_count};
      if (register_probe(p)) return 1;
      raise(one.signo);
      return 2;
    };
    EXPECT_EQ(test::told(test::status_of_child(sent)), test::killed_by(one.signo)) << one.name;
  }
}

TEST(DefaultAction, AnIgnoredSignalStaysIgnoredWhenSentAndKillsWhenRaisedByTheCpu) {
  const auto body = [] {
    signal(SIGSEGV, SIG_IGN);
    static probe p{.at = at(entry(fault_load)), .pre_handler = just_count};
    if (register_probe(p)) return 1;
    kill(getpid(), SIGSEGV);
    fault_load(nullptr);
    return 2;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(SIGSEGV));
}

int times = 0;
TEST(DefaultAction, AOneShotHandlerRunsOnceThenTheDefaultActs) {
  const auto body = [] {
    struct sigaction once {};
    once.sa_sigaction = [](int, siginfo_t*, void* context) {
      static const long good = 5;
      ++times;
      static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RDI] = reinterpret_cast<greg_t>(&good);
    };
    once.sa_flags = static_cast<int>(SA_SIGINFO | SA_RESETHAND);
    sigaction(SIGSEGV, &once, nullptr);
    static probe p{.at = at(entry(fault_load)), .pre_handler = just_count};
    if (register_probe(p)) return 1;
    if (fault_load(nullptr) != 5 || times != 1) return 2;
    fault_load(nullptr);
    return 3;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(SIGSEGV));
}

template <class Body>
std::string with_action(void (*action)(int), Body body) {
  return test::told(test::status_of_child([&] {
    signal(SIGTRAP, action);
    static probe p{.at = &subject, .pre_handler = just_count};
    if (register_probe(p)) return 101;
    if (subject(1) != 2 || hits(p) != 1) return 102;
    return body();
  }));
}

TEST(DefaultTrapAction, KillsForAnythingForeign) {
  EXPECT_EQ(with_action(SIG_DFL,
                        [] {
                          raise(SIGTRAP);
                          return 1;
                        }),
            test::killed_by(SIGTRAP));
  EXPECT_EQ(with_action(SIG_DFL,
                        [] {
                          kill(getpid(), SIGTRAP);
                          return 1;
                        }),
            test::killed_by(SIGTRAP));
  EXPECT_EQ(with_action(SIG_DFL, signals_own_breakpoint), test::killed_by(SIGTRAP));
  EXPECT_EQ(with_action(SIG_DFL, [] { return signals_own_steps(1); }), test::killed_by(SIGTRAP));
}

TEST(IgnoredTrap, StaysIgnoredWhenSentAndKillsWhenRaisedByTheCpu) {
  EXPECT_EQ(with_action(SIG_IGN,
                        [] {
                          raise(SIGTRAP);
                          kill(getpid(), SIGTRAP);
                          return subject(2);
                        }),
            test::exited_with(3));
  EXPECT_EQ(with_action(SIG_IGN, signals_own_breakpoint), test::killed_by(SIGTRAP));
}

}  // namespace
}  // namespace libprobe
