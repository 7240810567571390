// Return probes under load: every entry is matched by exactly one return or unwind, whatever threads,
// signals, exceptions, registrations and removals do meanwhile.
#include <signal.h>
#include <sys/time.h>

#include <memory>
#include <thread>

#include "support/retprobing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

template <int N>
[[gnu::noinline]] long frame(long x) {
  if constexpr (N == 0) {
    if (opaque(x) % 2 != 0) throw x;
    return x;
  } else {
    return opaque(frame<N - 1>(x)) + 1;
  }
}
[[gnu::noinline]] long in_signal(long x) { return opaque(x) + 1; }
[[gnu::noinline]] long calls_another(long x) { return opaque(in_signal(x)) + 1; }

constexpr int thread_count = 8;
constexpr long most_throws = 1'000'000;

TEST(Retprobes, EightThreadsThrowThroughFiveFrames) {
  followed a{&frame<0>}, b{&frame<1>}, c{&frame<2>}, d{&frame<3>}, e{&frame<4>};
  std::atomic<long> thrown{0}, returned{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t) {
    threads.emplace_back([&] {
      const test::until_time_is_over time;
      for (long x = 0; time && thrown < most_throws; ++x) {
        try {
          if (frame<4>(x) != x + 4 || x % 2 != 0) ++wrong;
          ++returned;
        } catch (long value) {
          if (value != x || x % 2 == 0) ++wrong;
          ++thrown;
        }
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  for (const auto* p : {&a, &b, &c, &d, &e}) {
    EXPECT_TRUE(p->balanced());
    EXPECT_EQ(p->returns(), static_cast<std::uint64_t>(returned));
    EXPECT_EQ(p->unwinds(), static_cast<std::uint64_t>(thrown));
  }
  RecordProperty("thrown", static_cast<int>(thrown));
}

TEST(Retprobes, ComeAndGoWhileTheyAreHit) {
  followed lasting{&frame<2>};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> calls{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (long x = 0; !stop; ++x) {
        ++calls;
        try {
          if (frame<2>(x) != x + 2) ++wrong;
        } catch (long value) {
          if (value != x) ++wrong;
        }
      }
    });
  }
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      // One shares the lasting one's function, the other follows what that calls.
      retprobe p{.at = t == 0 ? &frame<2> : &frame<1>,
                 .handler = [](retprobe_instance& i, registers&) { i.data_as<long>() += 1; },
                 .entry_handler =
                     [](retprobe_instance& i, registers& regs) {
                       i.data_as<long>() = regs.argument<long>(0);
                       return regs.argument<int>(0) % 3 == 0 ? 1 : 0;
                     },
                 .maxactive = 3,
                 .data_size = sizeof(long),
                 .unwind_handler = [](retprobe_instance& i) { i.data_as<long>() -= 1; }};
      const test::until_time_is_over time;
      for (int round = 0; time; ++round) {
        EXPECT_FALSE(register_retprobe(p));
        if (round % 2 == 0) {
          unregister_retprobe(p);
        } else {
          unregister_retprobe_fast(p);
          EXPECT_FALSE(round % 4 == 1 && commit_probes());
        }
      }
      stop = true;
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0U);
  EXPECT_TRUE(lasting.balanced());
  EXPECT_EQ(hits(lasting.probe()) + lasting.missed(), calls);
  EXPECT_EQ(lasting.missed(), 0U);
}

std::atomic<std::uint64_t> signal_calls{0}, signal_wrong{0};
void on_signal(int) {
  ++signal_calls;
  if (calls_another(5) != 7) ++signal_wrong;
}

TEST(Retprobes, SignalsRainWhoseHandlersCallFollowedFunctions) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP()
      << "its run-time library blocks all signals around handlers, and a breakpoint in one kills then";
#endif
  struct sigaction action {
  }, before_alarm{}, before_user{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGALRM, &action, &before_alarm);
  sigaction(SIGUSR1, &action, &before_user);
  followed a{&frame<0>}, b{&frame<1>}, c{&frame<2>}, d{&in_signal}, e{&calls_another};
  std::atomic<int> running{3};
  std::atomic<std::uint64_t> calls{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const test::until_time_is_over time;
      for (long x = 0; time; ++x) {
        ++calls;
        try {
          if (frame<2>(x) != x + 2) ++wrong;
        } catch (long value) {
          if (value != x) ++wrong;
        }
      }
      --running;
      while (running >= 0) std::this_thread::yield();  // signals find their thread
    });
  }
  const itimerval often{{0, 500}, {0, 500}};
  setitimer(ITIMER_REAL, &often, nullptr);
  while (running > 0) {
    for (auto& t : threads) pthread_kill(t.native_handle(), SIGUSR1);
    std::this_thread::yield();
  }
  const itimerval never{};
  setitimer(ITIMER_REAL, &never, nullptr);
  running = -1;
  for (auto& t : threads) t.join();
  sigaction(SIGALRM, &before_alarm, nullptr);
  sigaction(SIGUSR1, &before_user, nullptr);
  EXPECT_EQ(wrong, 0U);
  EXPECT_EQ(signal_wrong, 0U);
  for (const auto* p : {&a, &b, &c, &d, &e}) EXPECT_TRUE(p->balanced());
  EXPECT_EQ(c.entries() + c.missed(), calls);
  EXPECT_EQ(d.entries() + d.missed(), signal_calls);
  EXPECT_EQ(e.entries() + e.missed(), signal_calls);
  EXPECT_GT(d.entries(), 0U);
}

}  // namespace
}  // namespace libprobe
