// Threads under probes: made and ended at a high rate, and ended wherever they are: in probed functions, in
// handlers.
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <barrier>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "epoch/epoch.hpp"
#include "os/raw.hpp"
#include "support/every_kind.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::every_kind;
using test::followed;
using test::moment;
using test::opaque;

[[gnu::noipa]] int subject(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 1;
}
[[gnu::noipa]] int deep(int n) { return n == 0 ? subject(0) : opaque(deep(n - 1)) + 1; }

std::size_t resident_kilobytes() {
  std::ifstream status{"/proc/self/status"};
  for (std::string word; status >> word;) {
    std::size_t value = 0;
    if (word == "VmRSS:" && status >> value) return value;
  }
  return 0;
}

TEST(ManyThreads, WithHitsInEachUseBoundedMemory) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed calls{&deep};
  constexpr unsigned makers = 4, rounds = 1500;
  const auto run = [] {
    std::array<std::thread, makers> made;
    for (auto& maker : made) {
      maker = std::thread{[] {
        for (unsigned i = 0; i < rounds; ++i) {
          std::thread{[] {
            EXPECT_TRUE(every_kind::call_all());
            EXPECT_EQ(deep(3), 4);
          }}.join();
        }
      }};
    }
    for (auto& maker : made) maker.join();
  };
  run();
  const auto records = epoch::rows();
  const auto before = resident_kilobytes();
  run();
  EXPECT_LE(epoch::rows(), records + 2 * makers) << "records of ended threads are used again";
  EXPECT_LE(records, 256U);
  EXPECT_LE(resident_kilobytes(), before + 4096);
  for (const auto m : test::every_moment) {
    EXPECT_EQ(all.seen(m), 2U * makers * rounds) << name_of(m);
    EXPECT_EQ(all.missed(m), 0U) << name_of(m);
  }
  EXPECT_TRUE(calls.balanced());
  EXPECT_EQ(calls.missed(), 0U);
}

[[gnu::noipa]] int ends_inside(bool ends) {
  if (opaque(ends)) os::raw::call(SYS_exit, 0);  // neither unwound nor told to anybody
  return 1;
}

/// Whoever needs an instance while another thread looks for ended threads' gets one, too.
TEST(ManyThreads, AllFindAtOnceWhatEndedThreadsHeld) {
  constexpr int count = 8, rounds = 50;
  followed calls{&ends_inside, count};
  const auto run = [](bool ends) {
    std::barrier start{count};
    std::vector<std::thread> made;
    for (int i = 0; i < count; ++i) {
      made.emplace_back([&start, ends] {
        start.arrive_and_wait();
        ends_inside(ends);
      });
    }
    for (auto& one : made) one.join();
  };
  for (int round = 0; round < rounds; ++round) {
    run(true);
    run(false);
    ASSERT_EQ(calls.missed(), 0U) << "round " << round;
  }
  EXPECT_EQ(calls.entries(), std::uint64_t{2} * count * rounds);
  EXPECT_EQ(calls.unwinds(), std::uint64_t{1} * count * rounds);
  EXPECT_TRUE(calls.balanced());
}

TEST(ManyThreads, DetachedAndHitUntilTheirEnd) {
  static std::atomic<int> ended;
  ended = 0;
  followed calls{&deep, 4096};
  constexpr int count = 2000;
  for (int i = 0; i < count; ++i) {
    std::thread{[] {
      struct at_end {  // destructors of thread-local objects hit probes, too
        ~at_end() {
          deep(2);
          ++ended;
        }
      };
      thread_local const at_end last;
      static_cast<void>(&last);
      deep(1);
    }}.detach();
    while (i - ended > 100) std::this_thread::yield();
  }
  while (ended < count) std::this_thread::yield();
  // The last return handlers run before `ended` says so.
  EXPECT_EQ(calls.entries(), std::uint64_t{count} * 5);
  EXPECT_TRUE(calls.balanced());
  EXPECT_EQ(calls.missed(), 0U);
}

// ---- threads that end in the middle ----
enum class ending { exit, cancelled, cancelled_at_any_time };
std::atomic<bool> waiting{false};
std::atomic<int> destroyed{0};
struct tracked {
  ~tracked() {
    EXPECT_TRUE(every_kind::call_all());  // probes are hit all the same
    ++destroyed;
  }
};

void end_thread(ending how) {
  if (how == ending::exit) pthread_exit(nullptr);
  if (how == ending::cancelled_at_any_time) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
  waiting = true;
  if (how == ending::cancelled_at_any_time) {
    for (;;) opaque(0);
  }
  for (;;) pause();
}

/// Runs it in a thread, which it ends in that way.
void run_to_the_end(ending how, void* (*body)(void*), void* argument) {
  waiting = false;
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, nullptr, body, argument), 0);
  if (how != ending::exit) {
    while (!waiting) sched_yield();
    pthread_cancel(thread);
  }
  void* result = nullptr;
  ASSERT_EQ(pthread_join(thread, &result), 0);
  EXPECT_EQ(result, how == ending::exit ? nullptr : PTHREAD_CANCELED);
}

class Ending : public testing::TestWithParam<ending> {};
INSTANTIATE_TEST_SUITE_P(By, Ending,
                         testing::Values(ending::exit, ending::cancelled, ending::cancelled_at_any_time),
                         [](const auto& t) {
                           return t.param == ending::exit        ? "Exit"
                                  : t.param == ending::cancelled ? "Cancellation"
                                                                 : "AsynchronousCancellation";
                         });

TEST_P(Ending, InsideAHandlerOfEachKind) {
  for (const auto m : test::every_moment) {
    SCOPED_TRACE(name_of(m));
    every_kind all;
    static thread_local bool ends = false;
    struct plan {
      moment at;
      ending how;
    } wanted{m, GetParam()};
    all.action = [&wanted](moment now) {
      if (now == wanted.at && std::exchange(ends, false)) end_thread(wanted.how);
    };
    ASSERT_FALSE(all.place());
    destroyed = 0;
    for (int round = 1; round <= 10; ++round) {
      run_to_the_end(
          GetParam(),
          [](void* given) -> void* {
            const tracked here;
            ends = true;
            every_kind::call(static_cast<plan*>(given)->at);
            ADD_FAILURE() << "came back";
            return nullptr;
          },
          &wanted);
      ASSERT_EQ(destroyed, round);
      ASSERT_EQ(all.missed(m), 0U) << "the thread was in no handler any more while its stack was unwound";
    }
    EXPECT_TRUE(every_kind::call_all());
    all.remove();  // waits for nobody
  }
}

template <int N>
[[gnu::noinline]] int leaves(int how) {
  const tracked here;
  if constexpr (N == 0) {
    end_thread(static_cast<ending>(opaque(how)));
    return 0;
  } else {
    return opaque(leaves<N - 1>(how)) + 1;
  }
}

TEST_P(Ending, InsideFunctionsUnderEveryKindOfProbe) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed inner{&leaves<0>, 1}, outer{&leaves<2>, 1};
  int entered = 0, replaced = 0;
  const auto entry = on_entry(&leaves<1>, [&entered](int) { ++entered; });
  const auto instead = replace(&leaves<1>, [&replaced](auto original, int how) {
    ++replaced;
    return original(how);
  });
  destroyed = 0;
  for (int round = 1; round <= 20; ++round) {
    int how = static_cast<int>(GetParam());
    run_to_the_end(
        GetParam(),
        [](void* given) -> void* {
          opaque(leaves<2>(*static_cast<int*>(given)));
          return nullptr;
        },
        &how);
    ASSERT_EQ(destroyed, 3 * round);
    ASSERT_EQ(inner.unwinds(), static_cast<std::uint64_t>(round));
    ASSERT_EQ(outer.unwinds(), static_cast<std::uint64_t>(round));
    ASSERT_EQ(inner.missed() + outer.missed(), 0U);
  }
  EXPECT_EQ(entered, 20);
  EXPECT_EQ(replaced, 20);
}

[[gnu::noinline]] long ends_outermost(int how) {
  end_thread(static_cast<ending>(opaque(how)));
  return 0;
}
TEST_P(Ending, InAFollowedCallThatIsTheThreadsOutermost) {
  // The start routine itself, and what it tail-calls.
  followed calls{&ends_outermost, 1};
  for (int round = 1; round <= 10; ++round) {
    int how = static_cast<int>(GetParam());
    const auto body = [](void* given) -> void* {
      auto* const end = opaque(&ends_outermost);
      return reinterpret_cast<void*>(end(*static_cast<int*>(given)));
    };
    run_to_the_end(GetParam(), body, &how);
    commit_probes();
    // glibc stops unwinding short of it: it is told when its place on the stack is found used again.
    ASSERT_GE(calls.unwinds() + 1, static_cast<std::uint64_t>(round));
    ASSERT_EQ(calls.missed(), 0U);
  }
}

void* starts(void* how) {
  end_thread(*static_cast<ending*>(how));
  return nullptr;
}
TEST_P(Ending, InAFollowedStartRoutine) {
  followed calls{&starts, 1};
  for (int round = 1; round <= 10; ++round) {
    auto how = GetParam();
    run_to_the_end(how, starts, &how);
    commit_probes();
    // glibc stops unwinding short of it: it is told when its place on the stack is found used again.
    ASSERT_GE(calls.unwinds() + 1, static_cast<std::uint64_t>(round));
    ASSERT_EQ(calls.missed(), 0U);
  }
}

}  // namespace
}  // namespace libprobe
