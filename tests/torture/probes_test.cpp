// Probes are hit without pause while they come and go. Every call is accounted for: hits and misses of a
// lasting probe make up exactly the calls made, whatever happens at its address and beside it.
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "support/probing.hpp"
#include "torture/duration.hpp"

asm(R"(
        .text
        .p2align 4
        .type   torture_function, @function
torture_function:                       # x -> 3 * x + 5, by instructions of every kind
        push    %rbx
        lea     (%rdi,%rdi,2), %rax
        movq    %rax, %xmm1
        mov     torture_five(%rip), %rcx
        movq    %xmm1, %rbx
        call    torture_nothing
        cmp     %rcx, %rcx
        jne     1f
        add     %rcx, %rbx
1:      mov     %rbx, %rax
        pop     %rbx
        .globl  torture_function_last
torture_function_last:
        ret
        .size   torture_function, .-torture_function
        .type   torture_nothing, @function
torture_nothing:
        ret
        .size   torture_nothing, .-torture_nothing
        .pushsection .rodata
        .p2align 3
torture_five:
        .quad   5
        .popsection
)");

extern "C" {
long torture_function(long);
extern const char torture_function_last[];
}

namespace libprobe {
namespace {

using test::just_count;

[[gnu::noinline]] long own(long x) { return test::opaque(x) + 1; }

/// Calls made of each function. A handler that interrupts a call counts its own.
struct calls {
  std::atomic<std::uint64_t> assembly{0}, own{0}, libc{0}, wrong{0};
};
calls made;

void call_all(long x) {
  made.assembly.fetch_add(1, std::memory_order_relaxed);
  if (torture_function(x) != 3 * x + 5) made.wrong.fetch_add(1, std::memory_order_relaxed);
  made.own.fetch_add(1, std::memory_order_relaxed);
  if (own(x) != x + 1) made.wrong.fetch_add(1, std::memory_order_relaxed);
  made.libc.fetch_add(1, std::memory_order_relaxed);
  if (test::opaque(&::labs)(-x) != x) made.wrong.fetch_add(1, std::memory_order_relaxed);
}

/// Where changing probes go: each instruction of the assembly function, the other functions' first.
std::vector<location> places() {
  const auto* const start = test::code_of(torture_function);
  const auto last = reinterpret_cast<const std::uint8_t*>(torture_function_last) - start;
  std::vector<location> found{location{&own}, location{"libc.so.6:labs"}};
  for (std::ptrdiff_t offset = 0; offset <= last; ++offset) {
    probe p{.at = static_cast<const void*>(start + offset), .pre_handler = just_count};
    if (!register_probe(p)) found.push_back(p.at);
  }
  return found;
}

/// Handlers of changing probes; what they find must be alive.
struct alive {
  std::atomic<std::uint64_t> mark{0x600d};
  ~alive() { mark.store(0xdead, std::memory_order_relaxed); }
};
int check_alive(probe& p, registers&) {
  if (static_cast<alive*>(p.context)->mark.load(std::memory_order_relaxed) != 0x600d) {
    made.wrong.fetch_add(1, std::memory_order_relaxed);
  }
  return 0;
}
void check_alive_after(probe& p, registers& regs) { check_alive(p, regs); }

struct passing {
  passing(const location& at, std::mt19937_64& random)
      : p{.at = at,
          .pre_handler = random() % 8 == 0 ? nullptr : check_alive,
          .post_handler = random() % 2 == 0 ? check_alive_after : nullptr,
          .flags = random() % 8 == 0 ? probe_flags::single_step : probe_flags::none,
          .context = &what} {
    if (p.pre_handler == nullptr && p.post_handler == nullptr) p.post_handler = check_alive_after;
    if (random() % 8 == 0) p.flags |= probe_flags::disabled;
  }
  alive what;  // outlives the probe
  probe p;
};

class changes {
 public:
  changes(const std::vector<location>& places, std::uint64_t seed) : places_{places}, random_{seed} {}

  void one_round() {
    std::vector<std::unique_ptr<passing>> some;
    std::vector<probe*> all;
    const auto count = 1 + random_() % 12;
    for (std::size_t i = 0; i < count; ++i) {
      some.push_back(std::make_unique<passing>(places_[random_() % places_.size()], random_));
      all.push_back(&some.back()->p);
    }
    switch (random_() % 6) {
      case 0:  // one by one
        for (auto* p : all) expect_good(register_probe(*p));
        for (auto* p : all) unregister_probe(*p);
        break;
      case 1:  // together
        expect_good(register_probes(all));
        unregister_probes(all);
        break;
      case 2: {  // batches, the same objects again
        batch b;
        for (auto* p : all) b.add(*p);
        expect_good(b.commit());
        for (auto* p : all) b.remove(*p).add(*p);
        expect_good(b.commit());
        for (auto* p : all) b.remove(*p);
        break;
      }
      case 3:  // rest and wake
        expect_good(register_probes(all));
        for (int i = 0; i < 3; ++i) {
          for (auto* p : all) expect_good(disable_probe(*p));
          for (auto* p : all) expect_good(enable_probe(*p));
        }
        for (auto* p : all) unregister_probe_fast(*p);
        expect_good(commit_probes());
        break;
      case 4:  // queued and registered again
        expect_good(register_probes(all));
        for (auto* p : all) unregister_probe_fast(*p);
        expect_good(register_probes(all));
        if (random_() % 2 == 0) std::this_thread::yield();
        break;    // the destructors do the rest
      default: {  // refused: all or nothing
        probe bad{.at = "no_such_function_here", .pre_handler = just_count};
        all.push_back(&bad);
        if (register_probes(all) != errc::symbol_not_found) made.wrong.fetch_add(1);
      }
    }
  }

 private:
  static void expect_good(std::error_code why) { EXPECT_FALSE(why) << why.message(); }

  const std::vector<location>& places_;
  std::mt19937_64 random_;
};

struct Torture : testing::Test {
  Torture() {
    for (auto* counter : {&made.assembly, &made.own, &made.libc, &made.wrong}) *counter = 0;
  }

  /// Lasting probes: at the first and the last instruction of the assembly function, at the others' first.
  void add_lasting() {
    for (probe* p : lasting()) ASSERT_FALSE(register_probe(*p)) << last_error_detail();
  }
  void expect_exact() {
    EXPECT_EQ(made.wrong, 0U);
    EXPECT_GT(made.assembly, 0U);
    EXPECT_EQ(hits(first) + nmissed(first), made.assembly);
    EXPECT_EQ(hits(last) + nmissed(last), made.assembly);
    EXPECT_EQ(hits(on_own) + nmissed(on_own), made.own);
    EXPECT_EQ(hits(on_libc) + nmissed(on_libc), made.libc);
  }
  std::array<probe*, 4> lasting() { return {&first, &last, &on_own, &on_libc}; }

  template <class During>
  void run(During during) {
    const auto where = places();
    add_lasting();
    std::atomic<bool> stop{false};
    std::vector<std::thread> callers, changers;
    for (int i = 0; i < 3; ++i) {
      callers.emplace_back([&stop, i] {
        for (long x = i; !stop.load(std::memory_order_relaxed); ++x) call_all(x);
      });
    }
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      changers.emplace_back([&, seed] {
        changes c{where, seed};
        while (!stop.load(std::memory_order_relaxed)) c.one_round();
      });
    }
    for (const test::until_time_is_over time; time;) {
      during(callers, changers);
      std::this_thread::sleep_for(std::chrono::microseconds{200});
    }
    const itimerval never{};
    setitimer(ITIMER_REAL, &never, nullptr);
    stop = true;
    for (auto& thread : callers) thread.join();
    for (auto& thread : changers) thread.join();
    expect_exact();
    EXPECT_EQ(list_probes().size(), 4U);
  }

  probe first{.at = torture_function, .pre_handler = just_count};
  probe last{.at = static_cast<const void*>(torture_function_last), .pre_handler = just_count};
  probe on_own{.at = &own, .pre_handler = just_count, .post_handler = [](probe&, registers&) {}};
  probe on_libc{.at = "libc.so.6:labs", .pre_handler = just_count};
};

using threads = std::vector<std::thread>;

TEST_F(Torture, ChangesUnderConstantHits) {
  run([](threads&, threads&) {});
  for (auto* p : lasting()) EXPECT_EQ(nmissed(*p), 0U);
}

TEST_F(Torture, ChangesUnderConstantHitsInARainOfSignals) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP()
      << "its run-time library blocks all signals around handlers, and a breakpoint in one kills then";
#endif
  struct sigaction action {};
  action.sa_handler = [](int) { call_all(17); };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  sigaction(SIGALRM, &action, nullptr);
  run([](threads& callers, threads& changers) {
    // Not before: what a handler calls is counted, and must find the lasting probes in place.
    const itimerval soon{{0, 0}, {0, 300}};
    setitimer(ITIMER_REAL, &soon, nullptr);
    for (auto& thread : callers) pthread_kill(thread.native_handle(), SIGUSR1);
    for (auto& thread : changers) pthread_kill(thread.native_handle(), SIGUSR1);
  });
}

TEST_F(Torture, HandlersThatCallWhatIsProbed) {
  // Each hit makes three calls that are missed.
  static thread_local int depth = 0;
  const auto recurse = [](probe&, registers&) {
    if (depth == 0) {
      ++depth;
      call_all(3);
      --depth;
    }
    return 0;
  };
  first.pre_handler = recurse;
  on_libc.pre_handler = recurse;
  run([](threads&, threads&) {});
  for (auto* p : lasting()) EXPECT_GT(nmissed(*p), 0U);
}

TEST_F(Torture, LastingProbesRestAndWakeAndMissNothingElse) {
  // A resting probe counts nothing, so all that can be asked is: results right, and no more hits than calls.
  const auto where = places();
  add_lasting();
  std::atomic<bool> stop{false};
  threads callers;
  for (int i = 0; i < 2; ++i) {
    callers.emplace_back([&stop, i] {
      for (long x = i; !stop.load(std::memory_order_relaxed); ++x) call_all(x);
    });
  }
  std::mt19937_64 random{1};
  for (const test::until_time_is_over time; time;) {
    probe& p = *lasting()[random() % 4];
    EXPECT_FALSE(disable_probe(p));
    if (random() % 4 == 0) {
      const auto before = hits(p) + nmissed(p);
      EXPECT_FALSE(commit_probes());
      if (random() % 4 == 0) std::this_thread::yield();
      EXPECT_LE(before, hits(p) + nmissed(p));
    }
    EXPECT_FALSE(enable_probe(p));
  }
  stop = true;
  for (auto& thread : callers) thread.join();
  EXPECT_EQ(made.wrong, 0U);
  EXPECT_LE(hits(first), made.assembly);
  EXPECT_LE(hits(on_own), made.own);
  const auto at_rest = hits(first);
  call_all(1);
  EXPECT_EQ(hits(first), at_rest + 1);
}

}  // namespace
}  // namespace libprobe
