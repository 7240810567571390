// SIGTRAP that is not libprobe's: the program's own handler, its own breakpoints and steps, the default
// action.
#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <thread>

#include "support/probing.hpp"
#include "system/trap_targets.hpp"

namespace libprobe {
namespace {

using test::just_count;

[[gnu::noinline]] int subject(int x) { return test::opaque(x) + 1; }

struct {
  std::atomic<int> sent, breakpoints, steps;
  std::uintptr_t ip;
  bool call;
} seen;

void own_trap_handler(int, siginfo_t* info, void* context) {
  seen.ip = static_cast<std::uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  if (info->si_code == SI_KERNEL) {
    ++seen.breakpoints;
  } else if (info->si_code == TRAP_TRACE) {
    ++seen.steps;
  } else {
    ++seen.sent;
  }
  if (seen.call && subject(1) != 2) abort();
}

/// In place before libprobe's first registration.
struct OwnTrapHandler : testing::Test {
  static void SetUpTestSuite() {
    struct sigaction action {};
    action.sa_sigaction = own_trap_handler;
    action.sa_flags = SA_SIGINFO;
    sigfillset(&action.sa_mask);
    sigaction(SIGTRAP, &action, nullptr);
  }
  void SetUp() override {
    seen.sent = seen.breakpoints = seen.steps = 0;
    seen.call = false;
    ASSERT_FALSE(register_probe(p));
  }
  probe p{.at = &subject, .pre_handler = just_count};
};

TEST_F(OwnTrapHandler, GetsWhatIsSent) {
  raise(SIGTRAP);
  kill(getpid(), SIGTRAP);
  EXPECT_EQ(seen.sent, 2);
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(seen.breakpoints, 0);
}

TEST_F(OwnTrapHandler, GetsTheProgramsOwnBreakpoints) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(signals_own_breakpoint(), 4);
    EXPECT_EQ(seen.ip, reinterpret_cast<std::uintptr_t>(signals_behind_breakpoint));
    EXPECT_EQ(subject(i), i + 1);
  }
  EXPECT_EQ(seen.breakpoints, 10);
  EXPECT_EQ(hits(p), 10U);
}

TEST_F(OwnTrapHandler, MayRunIntoProbes) {
  seen.call = true;
  raise(SIGTRAP);
  EXPECT_EQ(signals_own_breakpoint(), 4);
  EXPECT_EQ(seen.sent + seen.breakpoints, 2);
  EXPECT_EQ(hits(p), 2U);
}

TEST_F(OwnTrapHandler, GetsTheProgramsOwnSteps) {
  EXPECT_EQ(signals_own_steps(5), 8);
  const int plain = seen.steps;
  EXPECT_GT(plain, 2);
  seen.steps = 0;
  EXPECT_EQ(signals_own_steps(5), 8);
  EXPECT_EQ(seen.steps, plain);
}

TEST_F(OwnTrapHandler, StepsOverAProbeKeepOnStepping) {
  EXPECT_EQ(signals_own_steps(5), 8);
  const int plain = seen.steps;
  seen.steps = 0;
  probe stepped{.at = static_cast<const void*>(signals_stepped_probe), .pre_handler = just_count};
  ASSERT_FALSE(register_probe(stepped));
  EXPECT_EQ(signals_own_steps(5), 8);
  EXPECT_EQ(hits(stepped), 1U);
  // The probed instruction itself may run without the flag; those behind it must not.
  EXPECT_GE(seen.steps, plain - 1);
  EXPECT_LE(seen.steps, plain);
}

TEST_F(OwnTrapHandler, AskedToForgetItselfRunsOnce) {
  const auto body = [] {
    struct sigaction action {};
    action.sa_handler = [](int) { ++seen.sent; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGTRAP, &action, nullptr);
    raise(SIGTRAP);
    if (seen.sent != 1) return 1;
    raise(SIGTRAP);
    return 2;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::killed_by(SIGTRAP));
}

TEST_F(OwnTrapHandler, SeesNothingOfBreakpointsThatAreRemovedJustAfterAHit) {
  unregister_probe(p);
  constexpr int rounds = 3000;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      for (int x = 0; !stop.load(std::memory_order_relaxed); ++x) {
        if (subject(x) != x + 1) ++wrong;
      }
    });
  }
  std::uint64_t all_hits = 0;
  for (int round = 0; round < rounds; ++round) {
    probe passing{.at = &subject,
                  .pre_handler = just_count,
                  .flags = round % 3 == 0 ? probe_flags::single_step : probe_flags::none};
    ASSERT_FALSE(register_probe(passing));
    if (round % 8 == 0) std::this_thread::yield();
    unregister_probe(passing);
    all_hits += hits(passing);
    ASSERT_EQ(nmissed(passing), 0U);
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(seen.sent + seen.breakpoints + seen.steps, 0);
  EXPECT_GT(all_hits, 0U);
  EXPECT_EQ(subject(1), 2);
}

}  // namespace
}  // namespace libprobe
