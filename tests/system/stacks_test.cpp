// Stacks: small ones, alternate ones, and those that a program switches by itself.
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <coroutine>
#include <memory>
#include <thread>

#include "support/every_kind.hpp"
#include "support/fibers.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::every_kind;
using test::every_moment;
using test::followed;
using test::just_count;
using test::moment;
using test::opaque;

[[gnu::noipa]] int subject(int x) {
  asm volatile("" : "+r"(x)::"memory");
  return x + 1;
}
[[gnu::noipa]] int deep(int n) { return n == 0 ? subject(0) : opaque(deep(n - 1)) + 1; }

/// A stack with a page below it that must not be touched.
class guarded_stack {
 public:
  explicit guarded_stack(std::size_t size) : size_{size} {
    whole_ = static_cast<char*>(
        mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EXPECT_EQ(mprotect(whole_, page, PROT_NONE), 0);
  }
  ~guarded_stack() { munmap(whole_, size_ + page); }
  guarded_stack(const guarded_stack&) = delete;
  guarded_stack& operator=(const guarded_stack&) = delete;
  [[nodiscard]] char* start() const { return whole_ + page; }
  [[nodiscard]] std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t page = 4096;
  std::size_t size_;
  char* whole_;
};

void run_on_a_thread_with(std::size_t stack, void* (*body)(void*), void* argument = nullptr) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, stack), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, body, argument), 0);
  pthread_attr_destroy(&attributes);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
}

// ---- small stacks ----
TEST(SmallStacks, TheSmallestThreadHitsEveryKind) {
  every_kind all;
  ASSERT_FALSE(all.place());
  const auto least = static_cast<std::size_t>(sysconf(_SC_THREAD_STACK_MIN));
  for (int round = 0; round < 20; ++round) {
    run_on_a_thread_with(least, [](void*) -> void* {
      EXPECT_TRUE(every_kind::call_all());
      return nullptr;
    });
  }
  for (const auto m : every_moment) EXPECT_EQ(all.seen(m), 20U) << name_of(m);
}

TEST(SmallStacks, WhatAHitNeedsIsBoundedAsDocumented) {
  // The kernel's signal frame, or a detour's; and a few hundred bytes for libprobe.
  const auto frame = getauxval(AT_MINSIGSTKSZ);
  ASSERT_GT(frame, 0U);
  const auto needed = [](auto register_it) {
    constexpr std::size_t size = 64 * 1024;
    guarded_stack stack{size};
    std::fill_n(stack.start(), size, '\x5a');
    static ucontext_t back, there;
    static char* top;
    getcontext(&there);
    there.uc_stack.ss_sp = stack.start();
    there.uc_stack.ss_size = size;
    there.uc_link = &back;
    makecontext(
        &there,
        [] {
          top = static_cast<char*>(__builtin_frame_address(0));
          if (subject(1) != 2) abort();
        },
        0);
    auto p = register_it();
    swapcontext(&back, &there);
    p.reset();
    const auto* lowest =
        std::find_if(stack.start(), stack.start() + size, [](char c) { return c != '\x5a'; });
    return static_cast<std::size_t>(top - lowest);
  };
  const auto by_probe = needed([] {
    auto p = std::unique_ptr<probe>(new probe{.at = &subject, .pre_handler = just_count});
    EXPECT_FALSE(register_probe(*p));
    return p;
  });
  const auto by_trap = needed([] {
    auto p = std::unique_ptr<probe>(
        new probe{.at = &subject, .pre_handler = just_count, .flags = probe_flags::no_jump});
    EXPECT_FALSE(register_probe(*p));
    return p;
  });
  const auto by_jprobe = needed([] {
    auto p =
        std::unique_ptr<jprobe>(new jprobe{.at = &subject, .entry = reinterpret_cast<void*>(+[](int) {})});
    EXPECT_FALSE(register_jprobe(*p));
    return p;
  });
  RecordProperty("probe", static_cast<int>(by_probe));
  RecordProperty("trap", static_cast<int>(by_trap));
  RecordProperty("jprobe", static_cast<int>(by_jprobe));
  printf("a hit needs: probe %zu, trap %zu, jprobe %zu bytes; the signal frame %lu\n", by_probe, by_trap,
         by_jprobe, frame);
  EXPECT_LE(by_trap, frame + 2048);
  EXPECT_LE(by_probe, std::max<std::size_t>(2560, frame + 2048));  // a trap where jumps are not wanted
  EXPECT_LE(by_jprobe, 2 * frame + 4096 + 4096) << "with its copy of the argument area";
}

// ---- alternate stacks ----
struct alternate {
  explicit alternate(std::size_t size) : memory{size} {
    const stack_t mine{.ss_sp = memory.start(), .ss_flags = 0, .ss_size = size};
    EXPECT_EQ(sigaltstack(&mine, &before), 0);
  }
  ~alternate() { sigaltstack(&before, nullptr); }
  guarded_stack memory;
  stack_t before{};
};

// ---- what lies above a stack ----

long entered_with(long x) { return x; }
long in_its_place(long x) { return x + 2; }
TEST(SmallStacks, MemoryAboveThemComesAndGoes) {
  // Of the argument area 4 KiB are copied, so far as they are there: above a fiber's first frames may be the
  // stack of another one, which a third thread unmaps at that very moment.
  constexpr std::size_t page = 4096, size = 16 * page;
  auto* const memory = static_cast<char*>(
      mmap(nullptr, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  jprobe entry{.at = &subject, .entry = reinterpret_cast<void*>(&entered_with)};
  replacement place{.at = &subject,
                    .entry = reinterpret_cast<void*>(&in_its_place),
                    .stack_bytes = 4096,
                    .result = result_registers::first_integer};
  std::atomic<bool> stop{false};
  std::thread other{[&] {
    while (!stop) {
      munmap(memory + size, page);
      mmap(memory + size, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
  }};
  int wrong = 0;
  for (int round = 0; round < 2; ++round) {
    ASSERT_FALSE(round == 0 ? register_jprobe(entry) : register_replacement(place));
    test::fiber near_the_top{[&](test::fiber&) {
                               for (int i = 0; i < 30'000; ++i)
                                 wrong += opaque(subject)(i) != i + 1 + round ? 1 : 0;
                             },
                             memory, size};
    EXPECT_FALSE(near_the_top.resume());
    unregister_jprobe(entry);
    unregister_replacement(place);
  }
  stop = true;
  other.join();
  munmap(memory, size + page);
  EXPECT_EQ(wrong, 0);
}

TEST(AlternateStacks, HandlersOnThemHitEveryKind) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed calls{&deep};
  // The kernel's smallest for one frame, another for the trap inside, and what the handlers themselves need.
  const alternate stack{3 * getauxval(AT_MINSIGSTKSZ) + 16384};
  static volatile bool right, on_it;
  struct sigaction action {};
  action.sa_flags = SA_ONSTACK;
  action.sa_handler = [](int) {
    stack_t now{};
    sigaltstack(nullptr, &now);
    on_it = (now.ss_flags & SS_ONSTACK) != 0;
    right = every_kind::call_all() && deep(5) == 6;
  };
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  for (unsigned round = 1; round <= 50; ++round) {
    right = false;
    on_it = false;
    raise(SIGUSR1);
    ASSERT_TRUE(right && on_it);
    ASSERT_EQ(deep(5), 6);
    for (const auto m : every_moment) ASSERT_EQ(all.seen(m), round) << name_of(m);
  }
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(calls.balanced());
}

/// The interrupted handler lies on another stack, above or below: it is still running, and its thread in a
/// handler.
void interrupt_handlers_on_another_stack() {
  struct sigaction action {};
  action.sa_flags = SA_ONSTACK;
  action.sa_handler = [](int) { EXPECT_TRUE(every_kind::call_all()); };
  struct sigaction before {};
  sigaction(SIGUSR1, &action, &before);
  for (const auto m : every_moment) {
    if (m == moment::replaced) continue;
    every_kind all;
    all.action = [&](moment now) {
      if (now == m) raise(SIGUSR1);
    };
    ASSERT_FALSE(all.place());
    for (unsigned round = 1; round <= 20; ++round) {
      ASSERT_TRUE(every_kind::call(m));
      ASSERT_EQ(all.seen(m), round) << name_of(m);
      ASSERT_EQ(all.missed(m), round) << name_of(m) << ": the one in the signal handler";
    }
  }
  sigaction(SIGUSR1, &before, nullptr);
}
TEST(AlternateStacks, BelowTheOneWithTheInterruptedHandler) {
  const alternate stack{std::size_t{64} * 1024};
  ASSERT_LT(static_cast<void*>(stack.memory.start()), __builtin_frame_address(0));
  interrupt_handlers_on_another_stack();
}
TEST(AlternateStacks, AboveTheOneWithTheInterruptedHandler) {
  // As a buffer further up on the thread's own stack, too.
  std::array<char, 64 * 1024> buffer;
  const stack_t mine{.ss_sp = buffer.data(), .ss_flags = 0, .ss_size = buffer.size()};
  stack_t before{};
  ASSERT_EQ(sigaltstack(&mine, &before), 0);
  interrupt_handlers_on_another_stack();
  sigaltstack(&before, nullptr);
}

// ---- stacks that the program switches ----
TEST(Contexts, HitsAndReturnsOnManyStacks) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed calls{&deep, 4096};
  constexpr int count = 50;
  static ucontext_t scheduler;
  static std::array<ucontext_t, count> contexts;
  static int now, done;
  static bool wrong;
  done = 0;
  wrong = false;
  std::vector<std::unique_ptr<guarded_stack>> stacks;
  struct yielding {  // in the middle of a followed call
    [[gnu::noipa]] static int call(int n) {
      if (n == 0) {
        swapcontext(&contexts[static_cast<std::size_t>(now)], &scheduler);
        return deep(2) - 3;
      }
      return opaque(call(n - 1)) + 1;
    }
  };
  followed in_between{&yielding::call, 4096};
  for (auto& context : contexts) {
    stacks.push_back(std::make_unique<guarded_stack>(std::size_t{64} * 1024));
    getcontext(&context);
    context.uc_stack.ss_sp = stacks.back()->start();
    context.uc_stack.ss_size = stacks.back()->size();
    context.uc_link = &scheduler;
    makecontext(
        &context,
        [] {
          for (int round = 0; round < 10; ++round) {
            wrong = wrong || !every_kind::call_all() || yielding::call(round % 4) != round % 4;
          }
          ++done;
        },
        0);
  }
  std::array<bool, count> over{};
  for (int turn = 0; done < count; ++turn) {
    now = (turn * 7) % count;
    const int before = done;
    if (over[static_cast<std::size_t>(now)]) continue;
    swapcontext(&scheduler, &contexts[static_cast<std::size_t>(now)]);
    over[static_cast<std::size_t>(now)] = done != before;
  }
  EXPECT_FALSE(wrong);
  for (const auto m : every_moment) {
    EXPECT_EQ(all.seen(m), 10U * count) << name_of(m);
    EXPECT_EQ(all.missed(m), 0U) << name_of(m);
  }
  EXPECT_TRUE(calls.balanced());
  EXPECT_TRUE(in_between.balanced());
  EXPECT_EQ(calls.missed() + in_between.missed(), 0U);
}

struct task {
  struct promise_type {
    task get_return_object() { return task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};
task works(int rounds, std::uint64_t& right) {
  for (int i = 0; i < rounds; ++i) {
    right += every_kind::call_all() && deep(i % 5) == i % 5 + 1 ? 1 : 0;
    co_await std::suspend_always{};
  }
}
TEST(LanguageCoroutines, ResumedByWhateverThread) {
  every_kind all;
  ASSERT_FALSE(all.place());
  followed calls{&deep};
  constexpr int rounds = 200;
  std::uint64_t right = 0;
  const auto one = works(rounds, right);
  for (int i = 0; i < rounds; ++i) {
    if (i % 3 == 0) {
      std::thread{[&] { one.handle.resume(); }}.join();
    } else {
      one.handle.resume();
    }
  }
  one.handle.destroy();
  EXPECT_EQ(right, static_cast<std::uint64_t>(rounds));
  for (const auto m : every_moment) EXPECT_EQ(all.seen(m), static_cast<std::uint64_t>(rounds)) << name_of(m);
  EXPECT_TRUE(calls.balanced());
}

}  // namespace
}  // namespace libprobe
