// The questions of the kernel's own tests, asked of return probes: KUnit test_kprobes (kretprobe, kretprobes,
// stacktrace_on_kretprobe, stacktrace_on_nested_kretprobe) and the ftrace selftest kretprobe_maxactive.
#include <execinfo.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "arch/arch.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

// ---- KUnit: kretprobe, kretprobes ----
constexpr int divisor = 4;
[[gnu::noinline]] int kprobe_target(int value) { return test::opaque(value) / divisor; }
[[gnu::noinline]] int kprobe_target2(int value) { return test::opaque(value) / divisor + 1; }

int krph_val = 0, value_at_return = 0;
int entry_handler(retprobe_instance&, registers&) {
  krph_val = 24 / divisor;
  return 0;
}
void return_handler(retprobe_instance&, registers& regs) {
  EXPECT_EQ(krph_val, 24 / divisor) << "return before entry";
  krph_val = 11;
  value_at_return = regs.return_value<int>();
}

struct TestKretprobes : testing::Test {
  TestKretprobes() { krph_val = value_at_return = 0; }
};

TEST_F(TestKretprobes, Kretprobe) {
  retprobe rp{.at = &kprobe_target, .handler = return_handler, .entry_handler = entry_handler};
  ASSERT_FALSE(register_retprobe(rp));
  EXPECT_EQ(kprobe_target(24), 6);
  unregister_retprobe(rp);
  EXPECT_EQ(krph_val, 11);
  EXPECT_EQ(value_at_return, 6);
}

TEST_F(TestKretprobes, Kretprobes) {
  retprobe rp{.at = &kprobe_target, .handler = return_handler, .entry_handler = entry_handler};
  retprobe rp2{.at = &kprobe_target2, .handler = return_handler, .entry_handler = entry_handler};
  retprobe* const rps[] = {&rp, &rp2};
  ASSERT_FALSE(register_retprobes(rps));
  EXPECT_EQ(kprobe_target(24), 6);
  EXPECT_EQ(krph_val, 11);
  EXPECT_EQ(value_at_return, 6);
  krph_val = value_at_return = 0;
  EXPECT_EQ(kprobe_target2(24), 7);
  EXPECT_EQ(krph_val, 11);
  EXPECT_EQ(value_at_return, 7);
  unregister_retprobes(rps);
}

// ---- KUnit: stacktrace_on_kretprobe, stacktrace_on_nested_kretprobe ----
[[gnu::noinline]] std::vector<void*> trace() {
  std::array<void*, 100> found{};
  const int count = backtrace(found.data(), static_cast<int>(found.size()));
  return std::vector<void*>(found.begin(), found.begin() + count);
}
bool is_slot(void* ip) {
  return arch::return_slot_at(reinterpret_cast<std::uintptr_t>(ip)) != arch::return_slot_count;
}
std::vector<void*> without_slots(std::vector<void*> all) {
  all.erase(std::remove_if(all.begin(), all.end(), is_slot), all.end());
  return all;
}

/// A trace taken in a handler, and where the handler's call goes back to.
struct sight {
  std::vector<void*> frames;
  void* return_address = nullptr;

  /// The call's callers as the trace shows them.
  [[nodiscard]] std::vector<void*> callers() const {
    return without_slots({std::find(frames.begin(), frames.end(), return_address), frames.end()});
  }
};
sight target_entry, target_return, driver_return;

int target_entry_handler(retprobe_instance& call, registers&) {
  target_entry = {trace(), call.return_address()};
  return 0;
}
void target_return_handler(retprobe_instance& call, registers&) {
  target_return = {trace(), call.return_address()};
}
void driver_return_handler(retprobe_instance& call, registers&) {
  driver_return = {trace(), call.return_address()};
}

std::vector<void*> inside_target, inside_driver;
[[gnu::noinline]] int stacktrace_target() {
  inside_target = trace();
  return test::opaque(5);
}
[[gnu::noinline]] int stacktrace_driver() {
  const int answer = stacktrace_target();
  inside_driver = trace();
  return test::opaque(answer) + 1;
}

class TestStacktrace : public testing::Test {
 protected:
  /// Runs the driver without probes and then with them, by one and the same call, so that traces are
  /// comparable.
  void run(const std::vector<retprobe*>& probes) {
    for (int round = 0; round < test::opaque(2); ++round) {
      if (round == 1) {
        ASSERT_FALSE(register_retprobes(probes));
      }
      EXPECT_EQ(stacktrace_driver(), 6);
      if (round == 0) {
        expected_in_target_ = inside_target;
        expected_in_driver_ = inside_driver;
      }
    }
    unregister_retprobes(probes);
    EXPECT_EQ(without_slots(inside_target), expected_in_target_);
    EXPECT_EQ(without_slots(inside_driver), expected_in_driver_);
    EXPECT_EQ(inside_target.size(), expected_in_target_.size() + probes.size())
        << "a slot for each followed call";
  }
  // Without trace() and the function itself.
  [[nodiscard]] std::vector<void*> callers_of_target() const {
    return {expected_in_target_.begin() + 2, expected_in_target_.end()};
  }
  [[nodiscard]] std::vector<void*> callers_of_driver() const {
    return {expected_in_driver_.begin() + 2, expected_in_driver_.end()};
  }

 private:
  std::vector<void*> expected_in_target_, expected_in_driver_;
};

TEST_F(TestStacktrace, OnKretprobe) {
  retprobe rp{
      .at = &stacktrace_target, .handler = target_return_handler, .entry_handler = target_entry_handler};
  run({&rp});
  EXPECT_EQ(target_entry.return_address, callers_of_target().front());
  EXPECT_EQ(target_entry.callers(), callers_of_target());
  EXPECT_EQ(target_return.return_address, callers_of_target().front());
  EXPECT_EQ(target_return.callers(), callers_of_target());
}

TEST_F(TestStacktrace, OnNestedKretprobe) {
  retprobe rp{
      .at = &stacktrace_target, .handler = target_return_handler, .entry_handler = target_entry_handler};
  retprobe driver{.at = &stacktrace_driver, .handler = driver_return_handler};
  run({&rp, &driver});
  EXPECT_EQ(target_entry.callers(), callers_of_target());
  EXPECT_EQ(target_return.callers(), callers_of_target());
  EXPECT_EQ(driver_return.return_address, callers_of_driver().front());
  EXPECT_EQ(driver_return.callers(), callers_of_driver());
}

// ---- ftrace: kretprobe_maxactive ----
[[gnu::noinline]] int recursive(int depth) { return depth == 0 ? 0 : test::opaque(recursive(depth - 1)) + 1; }

TEST(Ftrace, KretprobeMaxactive) {
  for (const std::size_t maxactive : {1U, 10U, 4096U}) {
    retprobe rp{.at = &recursive, .handler = [](retprobe_instance&, registers&) {}, .maxactive = maxactive};
    ASSERT_FALSE(register_retprobe(rp)) << maxactive;
    EXPECT_EQ(recursive(4999), 4999);
    EXPECT_EQ(hits(rp), maxactive) << "the outermost calls";
    EXPECT_EQ(nmissed(rp), 5000 - maxactive);
    // What the calls used is free again.
    EXPECT_EQ(recursive(0), 0);
    EXPECT_EQ(hits(rp), maxactive + 1);
    unregister_retprobe(rp);
    EXPECT_EQ(recursive(10), 10);
    EXPECT_EQ(hits(rp), maxactive + 1);
  }
  // And with the default.
  retprobe rp{.at = &recursive, .handler = [](retprobe_instance&, registers&) {}};
  ASSERT_FALSE(register_retprobe(rp));
  EXPECT_EQ(recursive(99), 99);
  EXPECT_EQ(hits(rp), 100U);
  EXPECT_EQ(nmissed(rp), 0U);
}

}  // namespace
}  // namespace libprobe
