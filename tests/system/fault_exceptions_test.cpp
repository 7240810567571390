// Programs that make exceptions of faults: built with -fnon-call-exceptions, a handler throws, and the catch
// block around the faulting instruction is reached, displaced or not.
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <thread>

#include "support/jumping.hpp"
#include "support/own_faults.hpp"

namespace libprobe {
namespace {

struct fault {
  int signo;
  std::uintptr_t ip;
};

void throws(int signo, siginfo_t*, void* context) {
  const auto& g = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  sigset_t mine;
  sigemptyset(&mine);
  sigaddset(&mine, signo);
  pthread_sigmask(SIG_UNBLOCK, &mine, nullptr);  // it does not return, which would do so
  throw fault{signo, static_cast<std::uintptr_t>(g[REG_RIP])};
}

int destroyed = 0;
struct guard {
  ~guard() { ++destroyed; }
};

[[gnu::noipa]] long divide(long a, long b) {
  const guard here;
  return a / b;
}
[[gnu::noipa]] long load(const long* from) {
  const guard here;
  return *from + 1;
}
[[gnu::noipa]] long load_or(const long* from, long instead) {
  try {
    return *from;
  } catch (const fault& what) {
    return what.signo == SIGSEGV ? instead : -1;
  }
}

/// True: all is as it would be without probes.
bool faults_are_caught(std::uintptr_t& load_ip, std::uintptr_t& divide_ip) {
  destroyed = 0;
  bool good = load_or(nullptr, 5) == 5;
  const long value = 8;
  good = good && load_or(&value, 5) == 8 && load(&value) == 9 && divide(9, 3) == 3;
  try {
    load(test::opaque<const long*>(nullptr));
    good = false;
  } catch (const fault& what) {
    good = good && what.signo == SIGSEGV;
    load_ip = what.ip;
  }
  try {
    divide(1, test::opaque(0L));
    good = false;
  } catch (const fault& what) {
    good = good && what.signo == SIGFPE;
    divide_ip = what.ip;
  }
  return good && destroyed == 4;
}

class FaultsAsExceptions : public testing::TestWithParam<probe_flags> {
 protected:
  void SetUp() override {
    struct sigaction action {};
    action.sa_sigaction = throws;
    action.sa_flags = SA_SIGINFO;
    for (const int signo : {SIGSEGV, SIGFPE}) sigaction(signo, &action, nullptr);
    ASSERT_TRUE(faults_are_caught(load_ip_, divide_ip_)) << "natively";
  }
  void expect_the_same() {
    for (int round = 0; round < 20; ++round) {
      std::uintptr_t load_ip = 0, divide_ip = 0;
      ASSERT_TRUE(faults_are_caught(load_ip, divide_ip));
      EXPECT_EQ(load_ip, load_ip_);
      EXPECT_EQ(divide_ip, divide_ip_);
    }
  }
  std::uintptr_t load_ip_ = 0, divide_ip_ = 0;
};
INSTANTIATE_TEST_SUITE_P(By, FaultsAsExceptions,
                         testing::Values(probe_flags::none, probe_flags::no_jump, probe_flags::single_step),
                         [](const auto& info) {
                           return std::string{info.param == probe_flags::none      ? "Default"
                                              : info.param == probe_flags::no_jump ? "Trap"
                                                                                   : "Step"};
                         });

TEST_P(FaultsAsExceptions, FromTheProbedInstruction) {
  for (const bool post : {false, true}) {
    probe at_load{
        .at = reinterpret_cast<const void*>(load_ip_), .pre_handler = test::just_count, .flags = GetParam()};
    probe at_divide{.at = reinterpret_cast<const void*>(divide_ip_),
                    .pre_handler = test::just_count,
                    .flags = GetParam()};
    if (post) at_load.post_handler = at_divide.post_handler = [](probe&, registers&) {};
    ASSERT_FALSE(register_probe(at_load)) << last_error_detail();
    ASSERT_FALSE(register_probe(at_divide)) << last_error_detail();
    expect_the_same();
    EXPECT_EQ(hits(at_load), 40U);
    EXPECT_EQ(hits(at_divide), 40U);
    EXPECT_EQ(nmissed(at_load) + nmissed(at_divide), 0U);
    // No section has been left open: this comes back.
    unregister_probe(at_load);
    unregister_probe(at_divide);
  }
}

/// All at once: the instruction that faults is displaced by its neighbour's jump, or lies behind one.
TEST_P(FaultsAsExceptions, WithProbesAtEveryInstruction) {
  for (const std::size_t step : {1U, 2U, 3U}) {
    std::vector<std::unique_ptr<probe>> probes;
    batch all;
    for (const void* function :
         {static_cast<const void*>(test::code_of(&load)), static_cast<const void*>(test::code_of(&divide)),
          static_cast<const void*>(test::code_of(&load_or))}) {
      const test::whole_function whole{function};
      for (std::size_t i = 0; i < whole.instructions.size(); i += step) {
        probes.emplace_back(new probe{.at = static_cast<const void*>(whole.instructions[i]),
                                      .pre_handler = test::just_count,
                                      .flags = GetParam()});
        all.add(*probes.back());
      }
    }
    ASSERT_FALSE(all.commit()) << last_error_detail();
    expect_the_same();
    for (const auto& p : probes) EXPECT_EQ(nmissed(*p), 0U);
    EXPECT_EQ(hits(*probes.front()), 40U);
  }
}

/// In handlers' own functions no probe stands, but around them: a followed call, a replacement.
TEST_P(FaultsAsExceptions, ThroughFollowedCalls) {
  int unwound = 0;
  retprobe followed{.at = &load,
                    .handler = [](retprobe_instance&, registers&) {},
                    .unwind_handler = [](retprobe_instance& i) { ++*static_cast<int*>(i.probe().context); },
                    .flags = GetParam(),
                    .context = &unwound};
  ASSERT_FALSE(register_retprobe(followed)) << last_error_detail();
  const auto replaced = replace(&divide, [](auto original, long a, long b) { return original(a, b); });
  expect_the_same();
  EXPECT_EQ(hits(followed), 40U);
  EXPECT_EQ(unwound, 20);
}

}  // namespace
}  // namespace libprobe
