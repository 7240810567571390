// Chains of coroutines with symmetric transfer, whose resumptions are followed: one returns for all.
#include "system/calls_coroutines.hpp"

#include "support/observing.hpp"

namespace libprobe {
namespace {

using test::by;

struct shape {
  const char* name;
  long (*run)(long);
  std::vector<const void*> functions;
};
shape in_turn() {
  return {"InTurn", test::await_in_turn, {test::awaiting_function(), test::awaited_function()}};
}
shape nested() { return {"Nested", test::await_nested, {test::nested_function()}}; }

class CoroutineChain : public testing::TestWithParam<std::tuple<by, shape (*)(), long>> {};
std::string name_of_case(const testing::TestParamInfo<CoroutineChain::ParamType>& t) {
  const auto [kind, which, count] = t.param;
  return test::name_of(kind) + which().name + std::to_string(count);
}
INSTANTIATE_TEST_SUITE_P(SeenBy, CoroutineChain,
                         testing::Combine(testing::ValuesIn(test::every_follower),
                                          testing::Values(&in_turn, &nested),
                                          testing::Values(300L, 100'000L)),
                         name_of_case);

TEST_P(CoroutineChain, EveryResumptionReturns) {
  const auto [kind, which, count] = GetParam();
  const auto [name, run, functions] = which();
  ASSERT_EQ(run(count), count) << "without probes";
  // How often each is called: a coroutine's destruction calls what resumes it, or has it inlined.
  std::vector<std::uint64_t> calls;
  {
    std::vector<std::unique_ptr<counter>> counters;
    for (const auto* f : functions) {
      counters.emplace_back(new counter{.at = f});
      ASSERT_FALSE(register_counter(*counters.back())) << last_error_detail();
    }
    ASSERT_EQ(run(count), count);
    for (const auto& c : counters) calls.push_back(hits(*c));
  }
  for (const auto n : calls) ASSERT_GE(n, static_cast<std::uint64_t>(count));
  for (const std::size_t maxactive : {300'100U, 1U, 50U}) {
    std::vector<std::unique_ptr<test::observer>> observers;
    for (const auto* f : functions) observers.push_back(test::observe(kind, f, maxactive));
    ASSERT_EQ(run(count), count) << "with up to " << maxactive;
    for (std::size_t i = 0; i < functions.size(); ++i) {
      EXPECT_TRUE(test::accounts_for(*observers[i], {calls[i], 0})) << "with up to " << maxactive;
      if (maxactive > 300'000 && kind != by::typed) {
        EXPECT_EQ(observers[i]->seen().missed, 0U);
      }
    }
  }
}

}  // namespace
}  // namespace libprobe
