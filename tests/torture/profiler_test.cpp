// A sampling profiler at work on a program full of probes: SIGPROF falls anywhere into SQLite and zlib, into
// handlers, detours, traps and return paths; its handler unwinds, and finds who called the work.
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include <unwind.h>
#include <zlib.h>

#include <atomic>
#include <memory>
#include <optional>
#include <random>
#include <thread>

#include "duration.hpp"
#include "examples/sqlite/workload.hpp"
#include "support/jumping.hpp"

namespace libprobe {
namespace {

// ---- the work, whose outcome is known

struct outcome {
  std::uint64_t rows = 0, digest = 0, packed = 0;
  bool operator==(const outcome&) const = default;
};

[[gnu::noipa]] outcome work(std::uint64_t seed) {
  static std::atomic<std::uint64_t> steps{0};
  const auto found = workload::run(120, seed, steps);
  std::mt19937_64 random{seed};
  std::vector<unsigned char> plain(20'000);
  for (auto& byte : plain) byte = static_cast<unsigned char>(random() % 7 * random() % 5);
  auto bound = compressBound(plain.size());
  std::vector<unsigned char> packed(bound), again(plain.size());
  auto size = static_cast<uLongf>(again.size());
  const bool good = compress2(packed.data(), &bound, plain.data(), plain.size(), 6) == Z_OK &&
                    uncompress(again.data(), &size, packed.data(), bound) == Z_OK && again == plain;
  return {found.rows_returned, found.digest, good ? crc32(0, packed.data(), static_cast<uInt>(bound)) : 0};
}

/// The frame that every sample must reach, in each thread.
[[gnu::noipa]] outcome base_of_the_stack(std::uint64_t seed) {
  const auto done = work(seed);
  asm volatile("" ::: "memory");
  return done;
}

// ---- the profiler

struct tally {
  std::atomic<std::uint64_t> samples{0}, whole{0};
};
tally now;
std::uintptr_t base_start, base_end;

/// The first frames of a stack that does not reach it, to be told.
constexpr std::size_t most_told = 16;
struct lost_stack {
  std::uintptr_t frames[most_told];
};
lost_stack some_lost[4];
std::atomic<std::size_t> lost_count{0};

bool in_base(std::uintptr_t ip) { return ip > base_start && ip <= base_end; }

/// Into `frames`, from this function on; true if the base is among all that there are.
bool reaches_by_libgcc(lost_stack& seen) {
  struct walk {
    lost_stack& seen;
    std::size_t depth = 0;
    bool whole = false;
  } found{seen};
  _Unwind_Backtrace(
      [](_Unwind_Context* context, void* to) {
        auto& w = *static_cast<walk*>(to);
        const auto ip = _Unwind_GetIP(context);
        if (w.depth < most_told) w.seen.frames[w.depth] = ip;
        w.whole = w.whole || in_base(ip);
        return ++w.depth > 300 ? _URC_END_OF_STACK : _URC_NO_REASON;
      },
      &found);
  return found.whole;
}
bool reaches_by_libunwind(lost_stack& seen) {
  unw_context_t context;
  unw_cursor_t cursor;
  unw_getcontext(&context);
  unw_init_local(&cursor, &context);
  for (std::size_t depth = 0; depth < 300 && unw_step(&cursor) > 0; ++depth) {
    unw_word_t ip = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &ip);
    if (depth < most_told) seen.frames[depth] = ip;
    if (in_base(ip)) return true;
  }
  return false;
}

bool (*reaches)(lost_stack&) = nullptr;
thread_local bool samples_wanted = false;

void on_sample(int, siginfo_t*, void*) {
  const int errno_before = errno;
  if (samples_wanted) {
    lost_stack seen{};
    const bool whole = reaches(seen);
    now.samples.fetch_add(1, std::memory_order_relaxed);
    now.whole.fetch_add(whole, std::memory_order_relaxed);
    if (!whole) {
      if (const auto number = lost_count++; number < std::size(some_lost)) some_lost[number] = seen;
    }
  }
  errno = errno_before;
}

/// Ticks of the thread that makes it.
class ticks {
 public:
  explicit ticks(long microseconds) {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGPROF;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) abort();
    const timespec period{0, microseconds * 1000};
    const itimerspec often{period, period};
    timer_settime(timer_, 0, &often, nullptr);
  }
  ~ticks() { timer_delete(timer_); }
  ticks(const ticks&) = delete;
  ticks& operator=(const ticks&) = delete;

 private:
  timer_t timer_{};
};

enum class clock { of_the_process, of_each_thread };
struct way {
  const char* name;
  bool (*reaches)(lost_stack&);
  clock ticks;
};
const way ways[] = {{"LibgccByItimer", reaches_by_libgcc, clock::of_the_process},
                    {"LibgccByTimers", reaches_by_libgcc, clock::of_each_thread},
                    {"LibunwindByItimer", reaches_by_libunwind, clock::of_the_process},
                    {"LibunwindByTimers", reaches_by_libunwind, clock::of_each_thread}};
void PrintTo(const way& what, std::ostream* to) { *to << what.name; }

// ---- the probes

/// Each kind, on the libraries' functions and on instructions inside of them.
class probes {
 public:
  probes() {
    std::size_t n = 0;
    for (const auto* const pattern : {"libsqlite3.so.0:sqlite3_*", "libz.so.1:*"}) {
      for (const auto& function : list_functions(pattern)) {
        // Whichever cannot be probed at such a place is left out.
        switch (n++ % 4) {
          case 0:
            add(counters_, counter{.at = function.address}, register_counter);
            break;
          case 1:
            add(followed_, retprobe{.at = function.address, .handler = [](retprobe_instance&, registers&) {}},
                register_retprobe);
            break;
          default:
            break;
        }
        if (function.size < 16 || function.size > 6000) continue;
        const test::whole_function whole{function.address};
        const std::size_t step = 3 + whole.instructions.size() / 40;
        for (std::size_t i = n % step; i < whole.instructions.size(); i += step) {
          auto& p = *inside_.emplace_back(std::make_unique<probe>());
          p.at = static_cast<const void*>(whole.instructions[i]);
          p.pre_handler = test::just_count;
          if (i % 2 == 0) p.post_handler = [](probe&, registers&) {};
          if (register_probe(p)) inside_.pop_back();
        }
      }
    }
  }
  [[nodiscard]] std::uint64_t seen() const {
    std::uint64_t sum = 0;
    for (const auto& p : inside_) sum += hits(*p);
    for (const auto& p : counters_) sum += hits(*p);
    for (const auto& p : followed_) sum += hits(*p);
    return sum;
  }
  [[nodiscard]] std::size_t count() const { return inside_.size() + counters_.size() + followed_.size(); }

 private:
  template <class Kind, class Made, class Register>
  static void add(std::vector<std::unique_ptr<Kind>>& to, const Made& like, Register do_register) {
    auto& one = *to.emplace_back(std::make_unique<Kind>());
    one.at = like.at;
    if constexpr (requires { one.handler; }) one.handler = like.handler;
    if (do_register(one)) to.pop_back();
  }
  std::vector<std::unique_ptr<probe>> inside_;
  std::vector<std::unique_ptr<counter>> counters_;
  std::vector<std::unique_ptr<retprobe>> followed_;
};

class Profiler : public testing::TestWithParam<way> {
 protected:
  static void SetUpTestSuite() { workload::prepare(); }
  void SetUp() override {
    const test::whole_function base{test::code_of(&base_of_the_stack)};
    base_start = reinterpret_cast<std::uintptr_t>(base.start);
    base_end = base_start + base.size;
    reaches = GetParam().reaches;
    struct sigaction action {};
    action.sa_sigaction = on_sample;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigaction(SIGPROF, &action, nullptr);
  }
};
INSTANTIATE_TEST_SUITE_P(Samples, Profiler, testing::ValuesIn(ways),
                         [](const auto& info) { return std::string{info.param.name}; });

TEST_P(Profiler, FindsWhoCalledWhateverItInterrupts) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "it holds signals back, so that they interrupt its own run-time library alone";
#endif
  constexpr std::uint64_t seeds = 3;
  outcome expected[seeds];
  for (std::uint64_t seed = 0; seed < seeds; ++seed) expected[seed] = work(seed);
  ASSERT_NE(expected[0].packed, 0U);
  const probes in_place;
  ASSERT_GT(in_place.count(), 500U);
  now.samples = now.whole = 0;
  lost_count = 0;
  std::atomic<std::uint64_t> rounds{0}, wrong{0};
  const bool own_timers = GetParam().ticks == clock::of_each_thread;
  const auto end = std::chrono::steady_clock::now() + test::torture_time() / std::size(ways);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::optional<ticks> own;
      if (own_timers) own.emplace(t == 0 ? 331 : 457);
      do {
        const auto seed = (t + rounds) % seeds;
        samples_wanted = true;
        wrong += base_of_the_stack(seed) != expected[seed];
        samples_wanted = false;
        ++rounds;
      } while (std::chrono::steady_clock::now() < end);
    });
  }
  constexpr itimerval often{{0, 500}, {0, 500}}, never{};
  if (!own_timers) setitimer(ITIMER_PROF, &often, nullptr);
  for (auto& t : threads) t.join();
  setitimer(ITIMER_PROF, &never, nullptr);
  EXPECT_EQ(wrong, 0U) << "of " << rounds;
  EXPECT_GT(in_place.seen(), 1000U);
  EXPECT_GT(now.samples, 0U);
  const auto lost = now.samples - now.whole;
  std::printf("%zu probes, %llu hits, %llu rounds, %llu samples, %llu of them without their end\n",
              in_place.count(), static_cast<unsigned long long>(in_place.seen()),
              static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(now.samples),
              static_cast<unsigned long long>(lost));
  // In the middle of an instruction that is being emulated ip and stack pointer may belong to different
  // moments.
  EXPECT_LE(lost, 3 + now.samples / 200);
  for (std::size_t i = 0; i < std::min<std::size_t>(lost_count, std::size(some_lost)); ++i) {
    std::printf("lost:\n");
    for (const auto ip : some_lost[i].frames) {
      if (ip != 0) std::printf("  %#lx %s\n", ip, symbols::describe(ip).symbol.c_str());
    }
  }
}

}  // namespace
}  // namespace libprobe
