// Functions that tail-call each other return at one place: each call of the chain has its own data, times and
// handlers, and the inner ones end first, however deep the chain and however it ends.
#include <setjmp.h>
#include <time.h>

#include <thread>

#include "support/observing.hpp"
#include "support/tail_chain.hpp"

namespace libprobe {
namespace {

using test::accounts_for;
using test::by;
using test::chain;
using test::observe;
using test::sum_of_chain;

std::int64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

struct ending {
  char who;
  long n;
  bool returned;
  std::int64_t begun, over;
  void* back;
};
std::vector<ending> endings;

/// A retprobe that writes down which call ended, in what way.
class written_down {
 public:
  written_down(char name, chain::step at, std::size_t maxactive = 1024)
      : name_{name},
        p_{.at = at,
           .handler = [](retprobe_instance& i, registers&) { end(i, true); },
           .entry_handler =
               [](retprobe_instance& i, registers& regs) {
                 i.data_as<note>() = {regs.argument<long>(0), now()};
                 return of(i).odd_only_ && regs.argument<long>(0) % 2 == 0 ? 1 : 0;
               },
           .maxactive = maxactive,
           .data_size = sizeof(note),
           .unwind_handler = [](retprobe_instance& i) { end(i, false); },
           .context = this} {
    EXPECT_FALSE(register_retprobe(p_)) << last_error_detail();
  }
  void leave_even_ones_alone() { odd_only_ = true; }
  [[nodiscard]] std::uint64_t missed() const { return nmissed(p_); }

 private:
  struct note {
    long n;
    std::int64_t begun;
  };
  static written_down& of(retprobe_instance& i) { return *static_cast<written_down*>(i.probe().context); }
  static void end(retprobe_instance& i, bool returned) {
    const auto& [n, begun] = i.data_as<note>();
    endings.push_back({of(i).name_, n, returned, begun, now(), i.return_address()});
  }
  char name_;
  bool odd_only_ = false;
  retprobe p_;
};

/// Who ended and with what n, as `a0 b1 a2`.
std::string told() {
  std::string text;
  for (const auto& one : endings)
    text += (text.empty() ? "" : " ") + (one.who + std::to_string(one.n)) + (one.returned ? "" : "!");
  return text;
}
/// Of a chain that began with n, the steps that go round through `names`, inner first.
std::string inner_first(long n, const std::string& names, const char* mark = "") {
  std::string text;
  for (long i = 0; i <= n; ++i)
    text += (i == 0 ? "" : " ") +
            (names[static_cast<std::size_t>(n - i) % names.size()] + std::to_string(i)) + mark;
  return text;
}
void expect_true_times_and_callers() {
  for (std::size_t i = 0; i < endings.size(); ++i) {
    ASSERT_EQ(endings[i].back, &test::call_chain_back) << i;
    ASSERT_LE(endings[i].begun, endings[i].over) << i;
    if (i == 0) continue;
    // Those of one call both begin and end in order of registration.
    const bool of_one_call = endings[i].n == endings[i - 1].n;
    ASSERT_TRUE(of_one_call || endings[i].begun <= endings[i - 1].begun)
        << i << ": the outer one began first";
    ASSERT_GE(endings[i].over, endings[i - 1].over) << i << ": and ends last";
  }
}

/// The first `functions` of the three go round.
chain round_of(int functions, chain::step end = test::end_of_chain) {
  switch (functions) {
    case 1:
      return {test::chain_a, nullptr, nullptr, end};
    case 2:
      return {test::chain_b, test::chain_a, nullptr, end};
    default:
      return {test::chain_b, test::chain_c, test::chain_a, end};
  }
}
constexpr chain::step step_of[] = {test::chain_a, test::chain_b, test::chain_c};

long run(long n, const chain& links) { return test::call_chain(n, 0, &links, test::chain_a); }

// ---- as a compiler makes them ----
long (*volatile next)(long, long);
[[gnu::noinline]] long state(long n, long sum) { return n == 0 ? sum : next(n - 1, sum + n); }

TEST(TailChain, OfAThousandStates) {
  next = state;
  test::followed p{&state};
  EXPECT_EQ(next(1000, 0), 500500);
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_TRUE(p.balanced());
  EXPECT_EQ(p.returns() + p.missed(), 1001U);
}

// ---- what each call of a chain is told ----
class TailChains : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { endings.clear(); }
  [[nodiscard]] std::string names() const {
    return std::string{"abc"}.substr(0, static_cast<std::size_t>(GetParam()));
  }
};
std::string name_of_round(const testing::TestParamInfo<int>& t) {
  return t.param == 1 ? "OneFunction" : std::to_string(t.param) + "Functions";
}
INSTANTIATE_TEST_SUITE_P(Of, TailChains, testing::Values(1, 2, 3), name_of_round);

TEST_P(TailChains, EachCallHasItsOwnDataAndTheInnerOnesEndFirst) {
  std::vector<std::unique_ptr<written_down>> all;
  const auto links = round_of(GetParam());
  for (const auto name : names()) all.emplace_back(new written_down{name, step_of[name - 'a']});
  for (const long n : {0L, 1L, 2L, 5L, 63L, 64L, 65L, 255L, 256L, 700L}) {
    endings.clear();
    ASSERT_EQ(run(n, links), sum_of_chain(n));
    ASSERT_EQ(told(), inner_first(n, names()));
    expect_true_times_and_callers();
  }
  for (const auto& one : all) EXPECT_EQ(one->missed(), 0U);
}

TEST_P(TailChains, AnExceptionAtItsEndUnwindsAllOfThem) {
  const auto throwing = [](long, long sum, const chain*) -> long { throw sum; };
  std::vector<std::unique_ptr<written_down>> all;
  const auto links = round_of(GetParam(), throwing);
  const auto thrown = [&](long n) {
    try {
      run(n, links);
      return -1L;
    } catch (long sum) {
      return sum;
    }
  };
  ASSERT_EQ(thrown(300), sum_of_chain(300)) << "without probes";
  for (const auto name : names()) all.emplace_back(new written_down{name, step_of[name - 'a']});
  for (const long n : {0L, 1L, 2L, 5L, 63L, 64L, 65L, 300L}) {
    endings.clear();
    ASSERT_EQ(thrown(n), sum_of_chain(n));
    ASSERT_EQ(told(), inner_first(n, names(), "!"));
    expect_true_times_and_callers();
  }
  // More than there are return slots.
  for (int round = 0; round < 13'000; ++round) {
    endings.clear();
    ASSERT_EQ(thrown(3), 6);
    ASSERT_EQ(endings.size(), 4U) << round;
  }
  for (const auto& one : all) EXPECT_EQ(one->missed(), 0U);
}

jmp_buf way_out;
TEST_P(TailChains, AJumpFromItsEndLeavesAllOfThem) {
  const auto leaving = [](long, long, const chain*) -> long { longjmp(way_out, 1); };
  static chain links;  // set before setjmp(), read behind
  static std::vector<std::unique_ptr<test::followed>> all;
  links = round_of(GetParam(), leaving);
  all.clear();
  for (const auto name : names()) all.emplace_back(new test::followed{step_of[name - 'a'], 1024});
  static int round;
  static std::uint64_t calls;
  calls = 0;
  for (round = 0; round < 13'000; ++round) {
    const long n = round % 100 == 0 ? 200 : 2;
    calls += static_cast<std::uint64_t>(n) + 1;
    if (setjmp(way_out) == 0) {
      run(n, links);
      FAIL() << "came back";
    }
  }
  const auto returning = round_of(GetParam());
  EXPECT_EQ(run(20, returning), sum_of_chain(20));
  std::uint64_t begun = 0, returned = 0, unwound = 0, missed = 0;
  for (const auto& one : all) {
    EXPECT_TRUE(one->balanced());
    begun += one->entries();
    returned += one->returns();
    unwound += one->unwinds();
    missed += one->missed();
  }
  EXPECT_EQ(missed, 0U);
  EXPECT_EQ(returned, 21U);
  EXPECT_EQ(unwound, calls);
  EXPECT_EQ(begun, calls + 21);
  all.clear();
}

TEST(TailChain, HandlersChangeTheResultOneAfterTheOther) {
  retprobe p{.at = &test::chain_a,
             .handler =
                 [](retprobe_instance& i, registers& regs) {
                   regs.set_return_value(regs.return_value<long>() * 3 + i.data_as<long>());
                 },
             .entry_handler =
                 [](retprobe_instance& i, registers& regs) {
                   i.data_as<long>() = regs.argument<long>(0);
                   return 0;
                 },
             .data_size = sizeof(long)};
  ASSERT_FALSE(register_retprobe(p));
  long expected = sum_of_chain(20);
  for (long n = 0; n <= 20; ++n) expected = expected * 3 + n;
  EXPECT_EQ(run(20, round_of(1)), expected);
}

TEST(TailChain, SeveralProbesOfOneFunctionRunInTheirOrderForEachCall) {
  const written_down x{'x', test::chain_a}, y{'y', test::chain_a}, b{'b', test::chain_b};
  endings.clear();
  EXPECT_EQ(run(3, round_of(2)), 6);
  EXPECT_EQ(told(), "b0 x1 y1 b2 x3 y3");
  expect_true_times_and_callers();
}

TEST(TailChain, CallsThatEntryHandlersLeaveAloneAreNotInIt) {
  written_down a{'a', test::chain_a};
  a.leave_even_ones_alone();
  endings.clear();
  EXPECT_EQ(run(9, round_of(1)), 45);
  EXPECT_EQ(told(), "a1 a3 a5 a7 a9");
  expect_true_times_and_callers();
}

TEST(TailChain, FunctionsThatNobodyFollowsMayBeInIt) {
  const written_down b{'b', test::chain_b};
  endings.clear();
  EXPECT_EQ(run(8, round_of(3)), 36);
  EXPECT_EQ(told(), "b1 b4 b7");
  expect_true_times_and_callers();
}

TEST(TailChain, InTheMiddleOfAnother) {
  static const chain* links;
  const chain nested{test::chain_b, test::chain_a, nullptr, [](long, long sum, const chain*) {
                       static int depth = 0;
                       if (depth == 40) return sum;
                       ++depth;
                       const long inner = test::call_chain(9, 0, links, test::chain_a);
                       --depth;
                       return inner + sum;
                     }};
  links = &nested;
  ASSERT_EQ(run(9, nested), 41 * 45) << "without probes";
  const written_down a{'a', test::chain_a}, b{'b', test::chain_b};
  endings.clear();
  EXPECT_EQ(run(9, nested), 41 * 45);
  std::string expected = inner_first(9, "ab");
  for (int i = 0; i < 40; ++i) expected += " " + inner_first(9, "ab");
  EXPECT_EQ(told(), expected);
  expect_true_times_and_callers();
}

// ---- depth ----
TEST(TailChain, DepthOf256) {
  test::followed p{&test::chain_a, 1000};
  EXPECT_EQ(run(256, round_of(1)), sum_of_chain(256));
  EXPECT_EQ(p.returns(), 257U);
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_EQ(p.missed(), 0U);
}

class DeepTailChains : public TailChains {};
INSTANTIATE_TEST_SUITE_P(Of, DeepTailChains, testing::Values(1, 3), name_of_round);
TEST_P(DeepTailChains, AMillionWithoutAMiss) {
  constexpr long n = 1'000'000;
  std::vector<std::unique_ptr<test::followed>> all;
  for (const auto name : names()) all.emplace_back(new test::followed{step_of[name - 'a'], n + 1});
  const auto links = round_of(GetParam());
  for (int round = 0; round < 2; ++round) ASSERT_EQ(run(n, links), sum_of_chain(n));
  std::uint64_t returned = 0;
  for (const auto& one : all) {
    EXPECT_EQ(one->unwinds(), 0U);
    EXPECT_EQ(one->missed(), 0U);
    EXPECT_TRUE(one->balanced());
    returned += one->returns();
  }
  EXPECT_EQ(returned, 2U * (n + 1));
}

TEST(TailChain, ItsFirstCallsAreFollowedWhereInstancesRunOut) {
  for (const std::size_t maxactive : {1U, 2U, 7U, 300U, 12'300U}) {
    constexpr long n = 20'000;
    test::followed p{&test::chain_a, maxactive};
    ASSERT_EQ(run(n, round_of(1)), sum_of_chain(n));
    EXPECT_EQ(p.returns(), maxactive);
    EXPECT_EQ(p.unwinds(), 0U);
    EXPECT_EQ(p.returns() + p.missed(), n + 1U);
    const auto missed = p.missed();
    ASSERT_EQ(run(0, round_of(1)), 0);
    EXPECT_EQ(p.returns(), maxactive + 1);
    EXPECT_EQ(p.missed(), missed) << "all were given back";
    EXPECT_TRUE(p.balanced());
  }
}

TEST(TailChain, InManyThreads) {
  test::followed a{&test::chain_a, 5000}, b{&test::chain_b, 40}, c{&test::chain_c, 1};
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&wrong, t] {
      const auto links = round_of(3);
      for (long i = 0; i < 500; ++i)
        wrong += run(t * 100 + i % 100, links) != sum_of_chain(t * 100 + i % 100);
    });
  }
  for (auto& one : threads) one.join();
  EXPECT_EQ(wrong, 0U);
  std::uint64_t steps = 0;
  for (long t = 0; t < 4; ++t)
    for (long i = 0; i < 500; ++i) steps += static_cast<std::uint64_t>(t * 100 + i % 100) + 1;
  EXPECT_EQ(a.missed(), 0U);
  std::uint64_t seen = 0;
  for (const auto* one : {&a, &b, &c}) {
    EXPECT_TRUE(one->balanced());
    EXPECT_EQ(one->unwinds(), 0U);
    seen += one->returns() + one->missed();
  }
  EXPECT_EQ(seen, steps);
}

/// Of each kind that follows calls.
class TailChainSeen : public testing::TestWithParam<by> {};
INSTANTIATE_TEST_SUITE_P(By, TailChainSeen, testing::ValuesIn(test::every_follower),
                         [](const auto& t) { return test::name_of(t.param); });
TEST_P(TailChainSeen, ReturnedAndThrown) {
  const auto throwing = [](long, long sum, const chain*) -> long { throw sum; };
  for (const std::size_t maxactive : {10'000U, 1U, 50U}) {
    const auto a = observe(GetParam(), test::code_of(&test::chain_a), maxactive);
    const auto b = observe(GetParam(), test::code_of(&test::chain_b), maxactive);
    for (const long n : {1L, 99L, 999L}) {
      ASSERT_EQ(run(n, round_of(2)), sum_of_chain(n));
      EXPECT_THROW(run(n, round_of(2, throwing)), long);
    }
    // Each has half of the steps, as both times.
    EXPECT_TRUE(accounts_for(*a, {551, 551}));
    EXPECT_TRUE(accounts_for(*b, {551, 551}));
  }
}

}  // namespace
}  // namespace libprobe
