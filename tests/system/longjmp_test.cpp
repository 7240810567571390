// Handlers and replacements that are left by libc's longjmp, and jumps that leave none: what is over is over
// at once, and what goes on still counts.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>
#include <ucontext.h>

#include <atomic>
#include <chrono>
#include <libprobe/libprobe.hpp>
#include <string>
#include <thread>

#include "epoch/epoch.hpp"
#include "support/callers.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using namespace std::chrono_literals;

jmp_buf way_out;
std::atomic<int> inside{0};

[[gnu::noinline, gnu::noclone]] long subject(long x) {
  asm volatile("nop; nop; nop; nop; nop; nop" : "+r"(x));
  return x + 1;
}
[[gnu::noinline, gnu::noclone]] long inner_subject(long x) {
  asm volatile("nop; nop; nop; nop; nop; nop; nop" : "+r"(x));
  return x + 2;
}

/// Whether a commit ends now, asked of another thread, which ends it later.
class committer {
 public:
  committer()
      : thread_{[this] {
          static_cast<void>(commit_probes());
          done_ = true;
        }} {}
  ~committer() { thread_.join(); }
  committer(const committer&) = delete;
  committer& operator=(const committer&) = delete;
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] bool is_done_soon() const {
    for (int i = 0; i < 2000 && !done_; ++i) std::this_thread::sleep_for(1ms);
    return done_;
  }

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

int leave(probe&, registers&) { longjmp(way_out, 1); }
int nothing(probe&, registers&) { return 0; }

TEST(Longjmp, OutOfAHandlerEndsIt) {
  probe p{.at = &subject, .pre_handler = leave};
  probe other{.at = &inner_subject, .pre_handler = nothing};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(other));
  volatile int left = 0;
  while (left < 100) {
    if (setjmp(way_out) == 0) {
      subject(1);
      FAIL() << "came back";
    }
    left = left + 1;
    inner_subject(1);
  }
  EXPECT_EQ(left, 100);
  EXPECT_EQ(hits(other), 100U);
  EXPECT_EQ(nmissed(other), 0U);
  if (setjmp(way_out) == 0) subject(1);
  // With no hit in between.
  EXPECT_FALSE(commit_probes());
  unregister_probe(p);
  EXPECT_EQ(hits(p), 101U);
}

/// The handler's own jump, from one of its functions to another.
int jump_inside(probe&, registers&) {
  jmp_buf own;
  if (setjmp(own) == 0) {
    inner_subject(1);
    longjmp(own, 1);
  }
  inner_subject(2);
  inside = 1;
  while (inside == 1) std::this_thread::yield();
  return 0;
}

TEST(Longjmp, InsideAHandlerIsNoEnd) {
  probe p{.at = &subject, .pre_handler = jump_inside};
  probe other{.at = &inner_subject, .pre_handler = nothing};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(other));
  inside = 0;
  std::thread thread{[] { subject(1); }};
  while (inside == 0) std::this_thread::yield();
  EXPECT_EQ(hits(other), 0U) << "the thread is in a handler";
  EXPECT_EQ(nmissed(other), 2U);
  unregister_probe_fast(p);
  {
    const committer waits;
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(waits.done()) << "its handler is running";
    inside = 2;
  }
  thread.join();
}

void leave_by_siglongjmp(int) { longjmp(way_out, 1); }

/// In the handler of a signal that interrupted a handler, jumps that end before it does.
int raise_inside(probe&, registers&) {
  raise(SIGUSR2);
  inner_subject(1);
  inside = 1;
  while (inside == 1) std::this_thread::yield();
  return 0;
}
void jump_in_signal(int) {
  jmp_buf own;
  if (setjmp(own) == 0) longjmp(own, 1);
}

TEST(Longjmp, OnTheAlternateStackOfASignalInAHandlerIsNoEnd) {
  probe p{.at = &subject, .pre_handler = raise_inside};
  probe other{.at = &inner_subject, .pre_handler = nothing};
  ASSERT_FALSE(register_probe(p));
  ASSERT_FALSE(register_probe(other));
  struct sigaction action {};
  action.sa_handler = jump_in_signal;
  action.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR2, &action, nullptr);
  inside = 0;
  std::thread thread{[] {
    static char alternate[64 * 1024];
    const stack_t there{.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof alternate};
    sigaltstack(&there, nullptr);
    subject(1);
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);
  }};
  while (inside == 0) std::this_thread::yield();
  EXPECT_EQ(nmissed(other), 1U) << "the thread is in a handler";
  unregister_probe_fast(p);
  {
    const committer waits;
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(waits.done());
    inside = 2;
  }
  thread.join();
}

long (*original_of_subject)(long) = nullptr;
long replacement_that_leaves(long x) {
  if (x == 0) longjmp(way_out, 1);
  return x > 0 ? subject(x - 1) : original_of_subject(x);
}

TEST(Longjmp, OutOfReplacementsEndsThemAll) {
  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(&replacement_that_leaves)};
  ASSERT_FALSE(register_replacement(r));
  if (setjmp(way_out) == 0) {
    subject(5);  // six of them
    FAIL() << "came back";
  }
  EXPECT_FALSE(commit_probes()) << "none is running";
  unregister_replacement(r);
  EXPECT_EQ(hits(r), 6U);
  EXPECT_EQ(subject(1), 2);
}

/// Only what lies below the place that it jumps to.
jmp_buf half_way;
long half_left(long x) {
  if (x == 0) longjmp(half_way, 1);
  if (x == 3 && setjmp(half_way) != 0) {
    inside = 1;
    while (inside == 1) std::this_thread::yield();
    return 7;
  }
  return subject(x - 1);
}

TEST(Longjmp, OutOfSomeReplacementsLetsTheOthersGoOn) {
  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(&half_left)};
  ASSERT_FALSE(register_replacement(r));
  inside = 0;
  std::thread thread{[] { EXPECT_EQ(subject(5), 7); }};
  while (inside == 0) std::this_thread::yield();
  unregister_replacement_fast(r);
  {
    const committer waits;
    std::this_thread::sleep_for(50ms);
    EXPECT_FALSE(waits.done()) << "three are running";
    inside = 2;
  }
  thread.join();
}

std::atomic<long> depth{0};
long overflow(long x) {
  volatile char room[2048];
  room[x & 2047] = 1;
  depth = x;
  return subject(x + 1) + room[x & 2047];
}

TEST(Longjmp, FromTheAlternateStackAfterAnOverflowEndsThousands) {
  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(&overflow)};
  ASSERT_FALSE(register_replacement(r));
  std::thread{[] {
    static char alternate[64 * 1024];
    const stack_t there{.ss_sp = alternate, .ss_flags = 0, .ss_size = sizeof alternate};
    sigaltstack(&there, nullptr);
    struct sigaction action {};
    action.sa_handler = leave_by_siglongjmp;
    action.sa_flags = SA_ONSTACK | SA_NODEFER;
    struct sigaction before {};
    sigaction(SIGSEGV, &action, &before);
    if (setjmp(way_out) == 0) subject(0);
    sigaction(SIGSEGV, &before, nullptr);
    const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
    sigaltstack(&none, nullptr);
  }}.join();
  EXPECT_GT(depth, 500);
  const committer ends;
  EXPECT_TRUE(ends.is_done_soon());
  unregister_replacement(r);
}

/// A fibre's stack in the middle of the thread's own: what is suspended there has not been left by jumps of
/// the thread around it.
ucontext_t main_context, fibre_context;
long switch_away(long x) {
  inside = 1;
  swapcontext(&fibre_context, &main_context);
  return original_of_subject(x);
}
long fibre_result = 0;
void fibre() { fibre_result = subject(1); }

[[gnu::noinline]] void jump_from_below() {
  volatile char room[512];
  room[0] = 1;
  longjmp(way_out, room[0]);
}

TEST(Longjmp, AroundASuspendedFibreLeavesItsReplacementRunning) {
  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(&switch_away)};
  ASSERT_FALSE(register_replacement(r));
  original_of_subject = reinterpret_cast<long (*)(long)>(original(r));
  inside = 0;
  std::thread{[&r] {
    alignas(16) char stack[64 * 1024];
    getcontext(&fibre_context);
    fibre_context.uc_stack.ss_sp = stack;
    fibre_context.uc_stack.ss_size = sizeof stack;
    fibre_context.uc_link = &main_context;
    makecontext(&fibre_context, fibre, 0);
    swapcontext(&main_context, &fibre_context);
    ASSERT_EQ(inside, 1);
    if (setjmp(way_out) == 0) jump_from_below();
    unregister_replacement_fast(r);
    {
      const committer waits;
      std::this_thread::sleep_for(50ms);
      EXPECT_FALSE(waits.done()) << "it is suspended, and will go on";
      swapcontext(&main_context, &fibre_context);  // to its end
    }
    EXPECT_EQ(fibre_result, 2);
  }}.join();
}

/// What a process writes to standard error while `body` runs.
template <class Body>
std::string told_by(Body body) {
  testing::internal::CaptureStderr();
  body();
  return testing::internal::GetCapturedStderr();
}

int wait_inside(probe&, registers&) {
  inside = 1;
  while (inside == 1) std::this_thread::yield();
  return 0;
}

TEST(Commit, ThatWaitsLongSaysForWhom) {
  epoch::set_patience(1);
  probe p{.at = &subject, .pre_handler = wait_inside};
  ASSERT_FALSE(register_probe(p));
  inside = 0;
  std::atomic<int> number{0};
  std::thread thread{[&number] {
    pthread_setname_np(pthread_self(), "the slow one");
    number = gettid();
    subject(1);
  }};
  while (inside == 0) std::this_thread::yield();
  const auto said = told_by([&p] {
    std::thread ends{[] {
      std::this_thread::sleep_for(3s);
      inside = 2;
    }};
    unregister_probe(p);
    ends.join();
  });
  thread.join();
  EXPECT_NE(said.find("thread " + std::to_string(number) + " (the slow one)"), std::string::npos) << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;

  replacement r{.at = &subject, .entry = reinterpret_cast<void*>(static_cast<long (*)(long)>([](long x) {
                                  inside = 1;
                                  while (inside == 1) std::this_thread::yield();
                                  return x;
                                }))};
  ASSERT_FALSE(register_replacement(r));
  inside = 0;
  std::thread runs{[] { subject(1); }};
  while (inside == 0) std::this_thread::yield();
  const auto said_of_calls = told_by([&r] {
    std::thread ends{[] {
      std::this_thread::sleep_for(3s);
      inside = 2;
    }};
    unregister_replacement(r);
    ends.join();
  });
  runs.join();
  EXPECT_NE(said_of_calls.find("replacement of the function at 0x"), std::string::npos) << said_of_calls;
  epoch::set_patience(10);
}

}  // namespace
}  // namespace libprobe
