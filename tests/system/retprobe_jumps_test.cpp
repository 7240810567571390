// Calls that never return: longjmp and siglongjmp past them. And calls on several stacks.
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include <functional>
#include <memory>
#include <thread>

#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

jmp_buf back;
sigjmp_buf back_from_signal;

template <int N>
[[gnu::noinline]] int frame(int x) {
  if constexpr (N == 0) {
    if (opaque(x) == -1) longjmp(back, 1);
    if (x == -2) siglongjmp(back_from_signal, 1);
    if (x == -3) raise(SIGUSR1);
    return x;
  } else {
    return opaque(frame<N - 1>(x)) + 1;
  }
}

[[gnu::noinline]] bool jumps(int x) {
  if (setjmp(back) != 0) return true;
  if (sigsetjmp(back_from_signal, 1) != 0) return true;
  frame<2>(x);
  return false;
}

class Jump : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    struct sigaction action {};
    action.sa_handler = [](int) { siglongjmp(back_from_signal, 1); };
    sigaction(SIGUSR1, &action, &before_);
    probes_.emplace_back(new followed{&frame<0>, 2});
    if (GetParam() >= 2) probes_.emplace_back(new followed{&frame<1>, 2});
    if (GetParam() >= 3) probes_.emplace_back(new followed{&frame<2>, 2});
  }
  void TearDown() override { sigaction(SIGUSR1, &before_, nullptr); }
  void loop(int x) {
    constexpr std::uint64_t rounds = 10000;
    for (std::uint64_t round = 0; round < rounds; ++round) ASSERT_TRUE(jumps(x));
    EXPECT_FALSE(jumps(5));
    for (auto& p : probes_) {
      EXPECT_EQ(hits(p->probe()), rounds + 1);
      EXPECT_EQ(p->missed(), 0U);
      EXPECT_EQ(p->returns(), 1U);
      EXPECT_EQ(p->unwinds(), rounds) << "the last was noticed at the hits of the call that returned";
      EXPECT_TRUE(p->balanced());
    }
  }
  struct sigaction before_ {};
  std::vector<std::unique_ptr<followed>> probes_;
};
INSTANTIATE_TEST_SUITE_P(Frames, Jump, testing::Values(1, 2, 3));

TEST_P(Jump, ByLongjmp) { loop(-1); }
TEST_P(Jump, BySiglongjmp) { loop(-2); }
TEST_P(Jump, OutOfASignalHandler) { loop(-3); }

TEST_P(Jump, BetweenReturningCallsAndFromOtherDepths) {
  const std::function<void(int)> deeper = [&](int depth) {
    if (depth > 0) return deeper(depth - 1);
    jumps(-1);
    EXPECT_EQ(frame<2>(1), 3);
  };
  for (int round = 0; round < 1000; ++round) {
    deeper(round % 7);
    EXPECT_EQ(frame<2>(round), round + 2);
  }
  for (auto& p : probes_) {
    EXPECT_EQ(hits(p->probe()) + p->missed(), 3000U);
    EXPECT_EQ(p->missed(), 0U);
    EXPECT_EQ(p->returns(), 2000U);
    EXPECT_GE(p->unwinds(), 999U);
  }
}

// One followed frame that stays, with jumps below it.
[[gnu::noinline]] int stays(int rounds) {
  int jumped = 0;
  for (int i = 0; i < rounds; ++i) jumped += jumps(-1) ? 1 : 0;
  return jumped;
}
TEST_P(Jump, BelowACallThatReturns) {
  followed p{&stays, 1};
  EXPECT_EQ(stays(1000), 1000);
  EXPECT_EQ(stays(1000), 1000);
  EXPECT_EQ(p.returns(), 2U);
  EXPECT_EQ(p.unwinds(), 0U);
  for (auto& q : probes_) EXPECT_EQ(q->missed(), 0U);
}

[[gnu::noinline]] int dive(int depth) {
  if (opaque(depth) == 0) {
    if (opaque(true)) longjmp(back, 1);
    return 0;
  }
  return opaque(dive(depth - 1)) + 1;
}
// Each leaves a call behind that no later hit of its own can notice; others notice that it has ended.
TEST(EndedThreads, LoseNothingForGood) {
  constexpr int threads = 200;
  constexpr std::size_t maxactive = 8;
  followed p{&frame<0>, maxactive};
  for (int i = 0; i < threads; ++i) std::thread{[] { EXPECT_TRUE(jumps(-1)); }}.join();
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(hits(p.probe()), std::uint64_t{threads});
  EXPECT_GE(p.unwinds(), threads - maxactive);
}

TEST(DeepJump, GivesBackAThousandInstancesInTime) {
  followed p{&dive, 1001};
  for (int round = 0; round < 20; ++round) {
    if (setjmp(back) == 0) dive(1000);
  }
  EXPECT_EQ(hits(p.probe()) + p.missed(), 20U * 1001);
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_GE(p.unwinds(), 19U * 1001 - 1001);
}

// ---- coroutines ----
class coroutine {
 public:
  explicit coroutine(std::function<void(coroutine&)> body, std::size_t stack = 64 * 1024)
      : body_{std::move(body)}, stack_(stack) {
    getcontext(&inside_);
    inside_.uc_stack.ss_sp = stack_.data();
    inside_.uc_stack.ss_size = stack_.size();
    inside_.uc_link = nullptr;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    makecontext(&inside_, reinterpret_cast<void (*)()>(&start), 2, static_cast<int>(self >> 32),
                static_cast<int>(self));
  }
  void resume() { swapcontext(&outside_, &inside_); }
  void yield() { swapcontext(&inside_, &outside_); }
  [[nodiscard]] bool done() const { return done_; }

 private:
  static void start(unsigned high, unsigned low) {
    auto& self = *reinterpret_cast<coroutine*>((std::uintptr_t{high} << 32) | low);
    self.body_(self);
    self.done_ = true;
    self.yield();
  }
  std::function<void(coroutine&)> body_;
  std::vector<char> stack_;
  ucontext_t inside_{}, outside_{};
  bool done_ = false;
};

[[gnu::noinline]] long walks(coroutine& c, long x, int depth) {
  if (depth == 0) {
    c.yield();
    return opaque(x);
  }
  const long below = walks(c, x + 1, depth - 1);
  c.yield();
  return opaque(below) * 2;
}

long expected(long x, int depth) { return depth == 0 ? x : 2 * expected(x + 1, depth - 1); }

TEST(Coroutines, InterleavedOnTheirOwnStacks) {
  constexpr int count = 20;
  followed p{&walks, 200};
  std::vector<long> results(count);
  std::vector<std::unique_ptr<coroutine>> all;
  for (int i = 0; i < count; ++i) {
    all.emplace_back(new coroutine{[i, &results](coroutine& c) {
      for (int round = 0; round < 5; ++round) results[i] += walks(c, i + round, 1 + i % 5);
    }});
  }
  for (bool any = true; any;) {
    any = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      auto& c = *all[(i * 7) % all.size()];
      if (c.done()) continue;
      c.resume();
      any = true;
    }
  }
  for (int i = 0; i < count; ++i) {
    long sum = 0;
    for (int round = 0; round < 5; ++round) sum += expected(i + round, 1 + i % 5);
    EXPECT_EQ(results[i], sum);
  }
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_TRUE(p.balanced());
}

TEST(Coroutines, ResumedByAnotherThread) {
  followed p{&walks, 20};
  for (int round = 0; round < 200; ++round) {
    long result = 0;
    coroutine c{[&](coroutine& self) { result = walks(self, round, 4); }};
    coroutine mine{[&](coroutine& self) { walks(self, round, 2); }};
    c.resume();
    mine.resume();
    c.resume();
    std::thread{[&] {
      c.resume();
      c.resume();
    }}.join();
    while (!mine.done()) mine.resume();
    std::thread{[&] {
      while (!c.done()) c.resume();
    }}.join();
    EXPECT_EQ(result, expected(round, 4));
  }
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_TRUE(p.balanced());
}

[[gnu::noinline]] long noise(long x) { return opaque(x) + 1; }

TEST(Coroutines, RunByOneThreadWhileTheirMakerIsHit) {
  followed p{&walks, 20}, q{&noise, 4};
  std::atomic<bool> stop{false};
  std::atomic<coroutine*> handed{nullptr};
  std::thread other{[&] {
    while (!stop) {
      if (auto* c = handed.load()) {
        while (!c->done()) c->resume();
        handed = nullptr;
      }
    }
  }};
  for (long round = 0; round < 500; ++round) {
    long result = 0;
    coroutine c{[&](coroutine& self) { result = walks(self, round, 4); }};
    c.resume();
    handed = &c;
    for (long i = 0; handed.load() != nullptr; ++i) EXPECT_EQ(noise(i), i + 1);
    EXPECT_EQ(result, expected(round, 4));
  }
  stop = true;
  other.join();
  EXPECT_EQ(p.missed() + q.missed(), 0U);
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_TRUE(p.balanced() && q.balanced());
}

TEST(Coroutines, AbandonedHalfWay) {
  // Nothing proves that they will not go on, as they would if their stacks had been copied: their calls are
  // kept, and when no instance is left calls are missed, and right.
  followed p{&walks, 16};
  for (int round = 0; round < 100; ++round) {
    coroutine c{[&](coroutine& self) { walks(self, 1, 3); }, 256 * 1024};  // large: unmapped when freed
    c.resume();
    coroutine d{[&](coroutine& self) { walks(self, 1, 1); }};
    while (!d.done()) d.resume();
  }
  EXPECT_EQ(p.unwinds(), 0U);
  EXPECT_GT(p.missed(), 0U);
  EXPECT_EQ(hits(p.probe()) + p.missed(), 600U);
}

}  // namespace
}  // namespace libprobe
