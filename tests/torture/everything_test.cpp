// Everything at once: threads that call, throw, are cancelled and die; signals that rain on them; forks;
// libraries that come and go; probes of all kinds that come and go at the same places. What stays registered
// loses no hit: hits and missed ones together are the calls.
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "support/retprobing.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

constexpr int long_enough = 15;  // times what other tortures last: half a minute by default

using test::opaque;

// ---- what is called, and how often

std::atomic<std::uint64_t> steps{0}, throws{0}, leaves{0};

[[gnu::noinline]] long step(long x) {
  steps.fetch_add(1, std::memory_order_relaxed);
  return opaque(x) + 1;
}
[[gnu::noinline]] long aside(long x) { return opaque(x) + 1; }
[[gnu::noinline]] long thrower(long x) {
  throws.fetch_add(1, std::memory_order_relaxed);
  if (opaque(x) % 3 == 0) throw x;
  return step(x);
}
/// A thread's way out, through two frames that are followed.
[[gnu::noinline]] void leave(long how) {
  leaves.fetch_add(1, std::memory_order_relaxed);
  if (opaque(how) % 2 == 0) pthread_exit(nullptr);
  for (;;) {
    pthread_testcancel();
    step(how);
  }
}

std::atomic<std::uint64_t> wrong{0};
std::atomic<int> wrong_line{0};
void expect(bool holds, int line = __builtin_LINE()) {
  if (holds) return;
  if (wrong.fetch_add(1, std::memory_order_relaxed) == 0) wrong_line = line;
}

long work(long x) {
  long done = 0;
  try {
    done = thrower(x);
    expect(x % 3 != 0 && done == x + 1);
  } catch (long value) {
    expect(value == x && x % 3 == 0);
  }
  expect(step(x) == x + 1 && aside(x) == x + 1);
  return done;
}

/// In a handler of the program's, wherever it interrupts: in handlers, slots and detours too.
void on_rain(int, siginfo_t*, void*) { expect(step(7) == 8); }

std::atomic<std::uint64_t> posts{0};  // of what stays registered

// ---- who does what

class crowd {
 public:
  ~crowd() { join(); }
  template <class Body>
  void add(Body body) {
    threads_.emplace_back([body] {
      const test::until_time_is_over time{long_enough};
      for (long round = 0; time; ++round) body(round);
    });
  }
  void join() {
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

 private:
  std::vector<std::thread> threads_;
};

/// Probes of each kind, at places that are being called, in batches and one by one.
void come_and_go(long round) {
  probe p{.at = step,
          .pre_handler = test::just_count,
          .flags = round % 3 == 0 ? probe_flags::no_jump : probe_flags::none};
  jprobe j{.at = thrower, .entry = reinterpret_cast<void*>(+[](long x) { return opaque(x); })};
  retprobe r{.at = round % 2 == 0 ? location{thrower} : location{step},
             .handler = [](retprobe_instance&, registers& regs) { expect(regs.return_value<long>() > 0); },
             .unwind_handler = [](retprobe_instance&) {}};
  counter c{.at = thrower};
  expect(!register_probe(p) && !register_jprobe(j) && !register_retprobe(r) && !register_counter(c));
  const auto replaced = replace(&aside, [](auto original, long x) { return original(x); });
  work(round + 1);
  if (round % 4 == 0) {
    unregister_probe(p);
    unregister_retprobe(r);
  }
  unregister_probe_fast(p);
  unregister_jprobe_fast(j);
  unregister_retprobe_fast(r);
  unregister_counter_fast(c);
  expect(!commit_probes());
}

/// A real library; what is probed in it goes with it, or before it.
void load_and_unload(long round) {
  void* const library = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return expect(false);
  using checksum = unsigned long(unsigned long, const unsigned char*, unsigned);
  auto* const crc32 = reinterpret_cast<checksum*>(dlsym(library, "crc32"));
  probe p{.at = "libz.so.1:crc32", .pre_handler = test::just_count};
  expect(!register_probe(p));
  const auto* const text = reinterpret_cast<const unsigned char*>("123456789");
  expect(crc32(0, text, 9) == 0xcbf43926 && hits(p) >= 1);
  if (round % 2 == 0) unregister_probe(p);
  dlclose(library);
}

/// The child goes on with the probes that it finds, and with its own.
[[maybe_unused]] void fork_a_child(long round) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    wrong = wrong_line = 0;
    probe mine{.at = step, .pre_handler = test::just_count};
    bool good = !register_probe(mine);
    for (long x = 1; x < 100; ++x) work(x);
    good = good && hits(mine) + nmissed(mine) >= 100;
    std::thread{[&] { work(round + 1); }}.join();
    unregister_probe(mine);
    _exit(!good ? 1 : wrong_line % 255);
  }
  int status = -1;
  expect(child > 0 && waitpid(child, &status, 0) == child);
  expect(status == 0, 100'000 + status);
}

void let_a_thread_die(long round) {
  pthread_t thread;
  const auto body = [](void* argument) -> void* {
    const long how = reinterpret_cast<long>(argument);
    work(how + 1);
    if (how % 4 < 2) leave(how);
    return nullptr;
  };
  expect(pthread_create(&thread, nullptr, body, reinterpret_cast<void*>(round)) == 0);
  if (round % 4 == 1) expect(pthread_cancel(thread) == 0);
  expect(pthread_join(thread, nullptr) == 0);
}

TEST(Everything, AtOnce) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP()
      << "it sees no fences, no locks that are taken inside dlopen(), and not that a thread has ended";
#endif
  const auto steps_before = steps.load(), throws_before = throws.load(), leaves_before = leaves.load();
  probe at_step{.at = step, .pre_handler = test::just_count, .post_handler = [](probe&, registers&) {
                  posts.fetch_add(1, std::memory_order_relaxed);
                }};
  probe at_thrower{.at = thrower, .pre_handler = test::just_count, .flags = probe_flags::no_jump};
  probe at_leave{.at = leave, .pre_handler = test::just_count};
  counter calls{.at = step};
  ASSERT_FALSE(register_probe(at_step)) << last_error_detail();
  ASSERT_FALSE(register_probe(at_thrower)) << last_error_detail();
  ASSERT_FALSE(register_probe(at_leave)) << last_error_detail();
  ASSERT_FALSE(register_counter(calls)) << last_error_detail();
  struct sigaction rain {};
  rain.sa_sigaction = on_rain;
  rain.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&rain.sa_mask);
  ASSERT_EQ(sigaction(SIGUSR1, &rain, nullptr), 0);
  {
    test::followed followed_thrower{thrower, 64}, followed_leave{leave, 64};
    {
      crowd all;
      for (int i = 0; i < 3; ++i) all.add([](long x) { work(x + 1); });
      all.add(come_and_go);
      all.add(load_and_unload);
#ifndef __SANITIZE_ADDRESS__  // whose own locks stay taken in such a child
      all.add(fork_a_child);
#endif
      all.add(let_a_thread_die);
      all.add([](long) {  // to the process: to whichever thread
        kill(getpid(), SIGUSR1);
        std::this_thread::yield();
      });
      all.join();
    }
    EXPECT_TRUE(followed_thrower.balanced());
    EXPECT_TRUE(followed_leave.balanced());
    EXPECT_EQ(followed_thrower.entries() + followed_thrower.missed(), throws - throws_before);
    EXPECT_EQ(followed_leave.entries() + followed_leave.missed(), leaves - leaves_before);
  }
  EXPECT_EQ(wrong, 0U) << "line " << wrong_line;
  EXPECT_GT(steps - steps_before, 1000U);
  EXPECT_EQ(hits(at_step) + nmissed(at_step), steps - steps_before);
  EXPECT_EQ(posts, hits(at_step));
  EXPECT_EQ(hits(calls), steps - steps_before);
  EXPECT_EQ(hits(at_thrower) + nmissed(at_thrower), throws - throws_before);
  EXPECT_EQ(hits(at_leave) + nmissed(at_leave), leaves - leaves_before);
  RecordProperty("steps", std::to_string(steps));
}

}  // namespace
}  // namespace libprobe
