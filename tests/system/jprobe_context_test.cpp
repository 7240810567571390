// A jprobe's handler is an ordinary function: it may allocate, lock, print, throw, and end early.
#include <gmock/gmock.h>
#include <pthread.h>

#include <cerrno>
#include <cfenv>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;
using testing::ElementsAre;

[[gnu::noinline]] int subject(int x) { return opaque(x) + 1; }
[[gnu::noinline]] int other(int x) { return opaque(x) + 2; }
[[gnu::noinline]] int reads_errno() { return opaque(errno); }
[[gnu::noinline]] int fibonacci(int n) { return n < 2 ? opaque(n) : fibonacci(n - 1) + fibonacci(n - 2); }

template <class R, class... A>
void* entry(R (*function)(A...)) {
  return reinterpret_cast<void*>(function);
}

/// After whatever a handler did, this thread is outside of handlers, and grace periods end.
void expect_all_is_left() {
  probe after{.at = &other, .pre_handler = test::just_count};
  ASSERT_FALSE(register_probe(after));
  EXPECT_EQ(other(1), 3);
  EXPECT_EQ(hits(after), 1U);
  unregister_probe(after);
  EXPECT_FALSE(commit_probes());
}

std::map<int, std::string> told;
std::mutex told_lock;
void busy_entry(int x) {
  const std::lock_guard guard{told_lock};
  std::ostringstream out;
  out << "subject(" << x << ")" << std::string(1000, '.');
  told[x] = out.str().substr(0, 10);
  std::cout << told[x] << std::endl;
}

TEST(JprobeContext, AllocatesLocksPrints) {
  jprobe p{.at = &subject, .entry = entry(busy_entry)};
  ASSERT_FALSE(register_jprobe(p));
  std::thread second{[] {
    for (int i = 1000; i < 1100; ++i) EXPECT_EQ(subject(i), i + 1);
  }};
  for (int i = 0; i < 100; ++i) EXPECT_EQ(subject(i), i + 1);
  second.join();
  unregister_jprobe(p);
  EXPECT_EQ(told.size(), 200U);
  EXPECT_EQ(told[7], "subject(7)");
}

// ---- exceptions

void throwing_entry(int x) {
  const std::string in_the_way(100, 'x');
  if (x >= 0) throw std::runtime_error{"refused " + std::to_string(x)};
}

struct counted {
  explicit counted(int& count) : count_{count} {}
  ~counted() { ++count_; }
  int& count_;
};

TEST(JprobeContext, AnExceptionIsTheFunctions) {
  jprobe p{.at = &subject, .entry = entry(throwing_entry)};
  ASSERT_FALSE(register_jprobe(p));
  int destroyed = 0;
  for (int i = 0; i < 1000; ++i) {
    try {
      const counted local{destroyed};
      opaque (&subject)(i);  // a call whose compiler knows that subject() throws nothing could not be left
      FAIL() << "did not throw";
    } catch (const std::runtime_error& error) {
      EXPECT_EQ(error.what(), "refused " + std::to_string(i));
    }
    EXPECT_EQ(current_jprobe(), nullptr);
  }
  EXPECT_EQ(destroyed, 1000);
  EXPECT_EQ(subject(-1), 0);
  EXPECT_EQ(hits(p), 1001U);
  expect_all_is_left();
  unregister_jprobe(p);
  EXPECT_EQ(subject(1), 2);
}

int unwound = 0;
TEST(JprobeContext, AnExceptionEndsWhatEarlierProbesBegan) {
  unwound = 0;
  retprobe followed{.at = &subject,
                    .handler = [](retprobe_instance&, registers&) { ADD_FAILURE(); },
                    .maxactive = 1,
                    .unwind_handler = [](retprobe_instance&) { ++unwound; }};
  replacement instead{.at = &subject, .entry = entry(+[](int) { return -1; })};
  jprobe p{.at = &subject, .entry = entry(throwing_entry)};
  ASSERT_FALSE(register_retprobe(followed));
  ASSERT_FALSE(register_replacement(instead));
  ASSERT_FALSE(register_jprobe(p));
  for (int i = 0; i < 10; ++i) EXPECT_THROW(opaque(&subject)(i), std::runtime_error);
  EXPECT_EQ(unwound, 10);
  EXPECT_EQ(nmissed(followed), 0U);
  expect_all_is_left();
  unregister_jprobe(p);
  unregister_replacement(instead);  // waits for those inside: nobody
  unregister_retprobe(followed);
}

TEST(JprobeContext, AThreadMayExitInAHandler) {
  jprobe p{.at = &subject, .entry = entry(+[](int) { pthread_exit(nullptr); })};
  ASSERT_FALSE(register_jprobe(p));
  static int destroyed;
  destroyed = 0;
  for (int i = 0; i < 20; ++i) {
    pthread_t thread;
    ASSERT_EQ(pthread_create(
                  &thread, nullptr,
                  [](void*) -> void* {
                    const counted local{destroyed};
                    opaque (&subject)(1);
                    return nullptr;
                  },
                  nullptr),
              0);
    ASSERT_EQ(pthread_join(thread, nullptr), 0);
  }
  EXPECT_EQ(destroyed, 20);
  unregister_jprobe(p);
}

// ---- jprobe_return(), current_jprobe()

[[gnu::noinline]] void dive(int depth) {
  if (opaque(depth) == 0) jprobe_return();
  if (opaque(depth) > 0) dive(depth - 1);
  ADD_FAILURE();
}
std::vector<void*> contexts;
void early_entry(int x) {
  contexts.push_back(current_jprobe()->context);
  if (x % 2 == 0) dive(50);
  contexts.push_back(nullptr);
}

TEST(JprobeContext, EndsEarly) {
  int one = 0;
  int two = 0;
  jprobe first{.at = &subject, .entry = entry(early_entry), .context = &one};
  jprobe second{.at = &subject, .entry = entry(early_entry), .context = &two};
  jprobe* const both[] = {&first, &second};
  ASSERT_FALSE(register_jprobes(both));
  EXPECT_EQ(current_jprobe(), nullptr);
  contexts.clear();
  EXPECT_EQ(subject(2), 3);
  EXPECT_THAT(contexts, ElementsAre(&one, &two));
  contexts.clear();
  EXPECT_EQ(subject(3), 4);
  EXPECT_THAT(contexts, ElementsAre(&one, nullptr, &two, nullptr));
  EXPECT_EQ(current_jprobe(), nullptr);
  expect_all_is_left();
  unregister_jprobes(both);
}

TEST(JprobeContext, ErrnoIsTheProgrammes) {
  jprobe p{.at = &reads_errno, .entry = entry(+[] { errno = 77; })};
  ASSERT_FALSE(register_jprobe(p));
  errno = 12;
  EXPECT_EQ(reads_errno(), 12);
  EXPECT_EQ(errno, 12);
  unregister_jprobe(p);
}

// ---- hits inside handlers

// What libm does there is out of sight of whoever reads the entry's code.
TEST(JprobeContext, RoundingAndFlagsAreTheProgrammes) {
  const auto change = [](int) {
    opaque (&std::fesetround)(FE_UPWARD);
    opaque (&std::feraiseexcept)(FE_DIVBYZERO | FE_OVERFLOW);
  };
  std::feclearexcept(FE_ALL_EXCEPT);
  jprobe p{.at = &subject, .entry = entry(+change)};
  ASSERT_FALSE(register_jprobe(p));
  const volatile long double one = 1;  // divided at run time, by the x87
  const volatile long double three = 3;
  EXPECT_EQ(subject(1), 2);
  EXPECT_EQ(hits(p), 1U);
  EXPECT_EQ(std::fegetround(), FE_TONEAREST);
  EXPECT_EQ(std::fetestexcept(FE_ALL_EXCEPT), 0);
  EXPECT_EQ(one / three * 3, 1.0L);
}

double seen[2];
[[gnu::noinline]] double twice(double x, double y) { return opaque(x) + opaque(y); }
void scrambles(double x, double y) {
  seen[0] = x + y;
  asm volatile("xorps %%xmm0, %%xmm0; xorps %%xmm1, %%xmm1" ::: "xmm0", "xmm1");
}
void scrambles_more(double x, double y) {
  seen[1] = x + y;
  std::ostringstream out;
  out << x << y;
}

TEST(JprobeContext, EachSeesWhatTheCallerPassed) {
  for (const auto first : {&scrambles, &scrambles_more}) {
    jprobe one{.at = &twice, .entry = entry(first)};
    jprobe two{.at = &twice, .entry = entry(scrambles)};
    jprobe three{.at = &twice, .entry = entry(scrambles_more)};
    jprobe* const all[] = {&one, &two, &three};
    for (auto* p : all) ASSERT_FALSE(register_jprobe(*p));
    seen[0] = seen[1] = 0;
    EXPECT_EQ(opaque(&twice)(1.5, 2.5), 4.0);
    EXPECT_EQ(seen[0], 4.0);
    EXPECT_EQ(seen[1], 4.0);
    unregister_jprobes(all);
  }
}

TEST(JprobeContext, ItsOwnCallsAreMissed) {
  jprobe p{.at = &subject, .entry = entry(+[](int x) {
                             EXPECT_EQ(subject(x), x + 1);
                             EXPECT_EQ(other(x), x + 2);
                           })};
  probe inner{.at = &other, .pre_handler = test::just_count};
  ASSERT_FALSE(register_jprobe(p));
  ASSERT_FALSE(register_probe(inner));
  for (int i = 0; i < 10; ++i) EXPECT_EQ(subject(i), i + 1);
  EXPECT_EQ(hits(p), 10U);
  EXPECT_EQ(nmissed(p), 10U);
  EXPECT_EQ(nmissed(inner), 10U);
  unregister_probe(inner);
  unregister_jprobe(p);
}

TEST(JprobeContext, TheFunctionsOwnCallsAreHits) {
  jprobe p{.at = &fibonacci, .entry = entry(+[](int) {})};
  ASSERT_FALSE(register_jprobe(p));
  EXPECT_EQ(opaque(&fibonacci)(12), 144);
  EXPECT_GT(hits(p), 1U);
  EXPECT_EQ(nmissed(p), 0U);
  unregister_jprobe(p);
}

TEST(JprobeContext, ACommitInsideWouldDeadlock) {
  static std::error_code said;
  jprobe p{.at = &subject, .entry = entry(+[](int) { said = commit_probes(); })};
  ASSERT_FALSE(register_jprobe(p));
  subject(1);
  EXPECT_EQ(said, errc::would_deadlock);
  unregister_jprobe(p);
}

}  // namespace
}  // namespace libprobe
