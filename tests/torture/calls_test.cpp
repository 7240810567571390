// Followed calls on every stack, left in every way, all at once: chains of tail calls, fibers that move
// between threads, exceptions, longjmp, threads that end; while probes of the same functions come and go.
// What stays registered sees each call once, or counts it as missed.
#include <pthread.h>
#include <setjmp.h>

#include <mutex>
#include <thread>

#include "support/fibers.hpp"
#include "support/retprobing.hpp"
#include "support/tail_chain.hpp"
#include "torture/churn/watch.hpp"
#include "torture/duration.hpp"

namespace libprobe {
namespace {

using churn::dice;
using test::chain;
using test::fiber;
using test::followed;
using test::opaque;
using test::sum_of_chain;

std::atomic<std::uint64_t> wrong{0};
std::atomic<int> wrong_line{0};
void must(bool holds, int line = __builtin_LINE()) {
  if (!holds && wrong.fetch_add(1) == 0) wrong_line = line;
}

// ---- what is called, and how often ----
enum class way_out { returns, throws, jumps, exits };
/// Whose stack it is.
struct place {
  dice* random;
  fiber* self;   // null: a thread's
  jmp_buf* out;  // of way_out::jumps
};
void pause_sometimes(const place& at) {
  if (at.self != nullptr && at.random->below(3) == 0) at.self->yield();
}
long leave(const place& at, way_out how, long value) {
  pause_sometimes(at);
  switch (how) {
    case way_out::throws:
      throw value;
    case way_out::jumps:
      longjmp(*at.out, 1);
    case way_out::exits:
      pthread_exit(nullptr);
    case way_out::returns:
      break;
  }
  return value;
}

std::atomic<std::uint64_t> hops{0}, visits{0}, steps[3];

[[gnu::noipa]] long hop(long x) { return opaque(x) + 1; }

[[gnu::noipa]] long visit(const place& at, long depth, way_out how) {
  visits.fetch_add(1, std::memory_order_relaxed);
  if (depth == 0) return opaque(leave)(at, how, 0);
  pause_sometimes(at);
  long below = 0;
  if (depth % 4 == 2) {
    try {
      below = opaque(visit)(at, depth - 1, how);
    } catch (long) {
      throw;
    }
  } else {
    below = opaque(visit)(at, depth - 1, how);
  }
  pause_sometimes(at);
  return below + 1;
}

/// What a chain ends with.
struct plan : chain {
  const place* at;
  way_out how;
};
long end_as_planned(long, long sum, const chain* links) {
  const auto& mine = *static_cast<const plan*>(links);
  return opaque(leave)(*mine.at, mine.how, sum);
}
constexpr chain::step all_steps[] = {test::chain_a, test::chain_b, test::chain_c};
/// Of n + 1 calls, each of whichever function.
long run_chain(const place& at, long n, way_out how) {
  const std::uint64_t after[3] = {at.random->below(3), at.random->below(3), at.random->below(3)};
  const auto first = at.random->below(3);
  const plan links{{all_steps[after[0]], all_steps[after[1]], all_steps[after[2]], end_as_planned}, &at, how};
  std::uint64_t made[3] = {0, 0, 0};
  for (auto [left, which] = std::pair{n, first}; left >= 0; --left, which = after[which]) ++made[which];
  for (int i = 0; i < 3; ++i) steps[i].fetch_add(made[i], std::memory_order_relaxed);
  return test::call_chain(n, 0, &links, all_steps[first]);
}

/// Leaves the calls in between by longjmp, which is for threads' own stacks.
[[gnu::noinline]] bool jumps_out(place at, bool by_chain, long depth) {
  jmp_buf out;
  at.out = &out;
  if (setjmp(out) != 0) return true;
  if (by_chain) {
    run_chain(at, depth, way_out::jumps);
  } else {
    opaque(visit)(at, depth, way_out::jumps);
  }
  return false;
}

void work(const place& at) {
  auto& random = *at.random;
  const auto n = static_cast<long>(random.below(50) == 0 ? random.below(5000) : random.below(100));
  const auto depth = static_cast<long>(random.below(9));
  switch (random.below(8)) {
    case 0:
    case 1:
      return must(run_chain(at, n, way_out::returns) == sum_of_chain(n));
    case 2:
      try {
        run_chain(at, n, way_out::throws);
        must(false);
      } catch (long sum) {
        must(sum == sum_of_chain(n));
      }
      return;
    case 3:
      if (at.self == nullptr) must(jumps_out(at, random.below(2) == 0, random.below(2) == 0 ? n : depth));
      return;
    case 4:
      try {
        opaque(visit)(at, depth, way_out::throws);
        must(false);
      } catch (long value) {
        must(value == 0);
      }
      return;
    case 5:
      for (long i = 0; i < 40; ++i) {
        hops.fetch_add(1, std::memory_order_relaxed);
        must(opaque(hop)(i) == i + 1);
      }
      return;
    default:
      return must(opaque(visit)(at, depth, way_out::returns) == depth);
  }
}

// ---- who calls ----
std::atomic<bool> stop{false};
std::atomic<std::uint64_t> fibers_ended{0}, threads_ended{0}, churns{0};

/// Fibers that whoever comes along resumes.
class pool {
 public:
  explicit pool(unsigned size) {
    for (unsigned i = 0; i < size; ++i) waiting_.push_back(std::make_unique<one>(++made_));
  }
  /// False: there is none, which may be because others have them.
  bool resume_any(dice& random) {
    std::unique_ptr<one> taken;
    {
      const std::lock_guard guard{lock_};
      if (waiting_.empty()) return false;
      std::swap(waiting_[random.below(waiting_.size())], waiting_.back());
      taken = std::move(waiting_.back());
      waiting_.pop_back();
    }
    if (!taken->self.resume()) {
      ++fibers_ended;
      taken.reset();
      if (stop) return true;
      taken = std::make_unique<one>(++made_);
    }
    const std::lock_guard guard{lock_};
    waiting_.push_back(std::move(taken));
    return true;
  }

 private:
  struct one {
    explicit one(std::uint64_t seed)
        : random{seed}, self{[this](fiber& me) {
            const place here{&random, &me, nullptr};
            for (int i = 0; i < 30 && !stop; ++i) work(here);
          }} {}
    dice random;
    fiber self;
  };
  std::mutex lock_;
  std::vector<std::unique_ptr<one>> waiting_;
  std::atomic<std::uint64_t> made_{0};
};

/// A thread that ends soon, half of them in the middle of calls, while fibers that it resumed live on.
struct brief {
  pool* fibers;
  std::uint64_t seed;
  static void* run(void* mine) {
    const brief me = *static_cast<brief*>(mine);
    dice random{me.seed};
    const place here{&random, nullptr, nullptr};
    for (int i = 0; i < 3; ++i) work(here);
    for (int i = 0; i < 5; ++i) me.fibers->resume_any(random);
    ++threads_ended;
    const auto depth = static_cast<long>(random.below(9));
    if (me.seed % 4 == 0) {
      opaque(visit)(here, depth, way_out::exits);
    } else if (me.seed % 4 == 1) {
      run_chain(here, depth, way_out::exits);
    }
    return nullptr;
  }
};

/// Probes that come and go where the lasting ones are.
class passing {
 public:
  void round(std::uint64_t number) {
    batch arrival;
    for (auto& one : follow_) arrival.add(one);
    arrival.add(time_).add(look_);
    must(!arrival.commit());
    std::this_thread::sleep_for(std::chrono::microseconds{number % 5 * 300});
    if (number % 3 == 0) {
      for (auto& one : follow_) must(!disable_retprobe(one));
      for (auto& one : follow_) must(!enable_retprobe(one));
    }
    if (number % 2 == 0) {
      batch removal;
      for (auto& one : follow_) removal.remove(one);
      removal.remove(time_).remove(look_);
      must(!removal.commit());
    } else {
      for (auto& one : follow_) unregister_retprobe_fast(one);
      unregister_latency_fast(time_);
      unregister_jprobe_fast(look_);
      must(!commit_probes());
    }
    ++churns;
  }

 private:
  static constexpr long mark = 0x6d61726b;
  static int begin(retprobe_instance& i, registers&) {
    must(i.data_as<long>() == 0);
    i.data_as<long>() = mark;
    return 0;
  }
  static void end(retprobe_instance& i) { must(std::exchange(i.data_as<long>(), 0) == mark); }
  static void returned(retprobe_instance& i, registers&) { end(i); }
  retprobe follow_[3] = {{.at = &test::chain_a,
                          .handler = returned,
                          .entry_handler = begin,
                          .maxactive = 50,
                          .data_size = sizeof(long),
                          .unwind_handler = end},
                         {.at = &visit,
                          .handler = returned,
                          .entry_handler = begin,
                          .maxactive = 5,
                          .data_size = sizeof(long),
                          .unwind_handler = end},
                         {.at = &hop,
                          .handler = returned,
                          .entry_handler = begin,
                          .maxactive = 1,
                          .data_size = sizeof(long),
                          .unwind_handler = end}};
  latency time_{.at = &test::chain_b};
  jprobe look_{.at = &hop, .entry = reinterpret_cast<void*>(+[](long) {})};
};

std::string told(const followed& p) {
  return std::to_string(p.entries()) + " begun, " + std::to_string(p.returns()) + " returned, " +
         std::to_string(p.unwinds()) + " unwound, " + std::to_string(p.missed()) + " missed";
}

TEST(Calls, OnEveryStackAndLeftInEveryWay) {
#ifdef UNDER_THREAD_SANITIZER
  GTEST_SKIP()
      << "it is not told of stacks that are switched, nor that a thread's end orders what it has written";
#endif
  struct {
    const char* name;
    std::unique_ptr<followed> probe;
    std::atomic<std::uint64_t>* made;
  } const lasting[] = {
      {"a", std::make_unique<followed>(&test::chain_a, 60'000), &steps[0]},
      {"b", std::make_unique<followed>(&test::chain_b, 100), &steps[1]},
      {"c", std::make_unique<followed>(&test::chain_c, 1), &steps[2]},
      {"c again", std::make_unique<followed>(&test::chain_c, 60'000), &steps[2]},
      {"visit", std::make_unique<followed>(&visit, 4096), &visits},
      {"visit again", std::make_unique<followed>(&visit, 7), &visits},
      {"hop", std::make_unique<followed>(&hop), &hops},
  };
  pool fibers{60};
  {
    std::vector<std::thread> threads;
    for (std::uint64_t t = 1; t <= 4; ++t) {
      threads.emplace_back([&fibers, t] {
        dice random{t};
        const place here{&random, nullptr, nullptr};
        while (!stop) {
          work(here);
          for (auto i = random.below(6); i > 0; --i) fibers.resume_any(random);
        }
      });
    }
    for (std::uint64_t t = 1; t <= 2; ++t) {
      threads.emplace_back([&fibers, t] {
        for (std::uint64_t round = t; !stop; round += 2) {
          brief mine{&fibers, round};
          pthread_t thread{};
          must(pthread_create(&thread, nullptr, brief::run, &mine) == 0);
          must(pthread_join(thread, nullptr) == 0);
        }
      });
    }
    threads.emplace_back([] {
      passing probes;
      for (std::uint64_t round = 0; !stop; ++round) probes.round(round);
    });
    const test::until_time_is_over time{3};
    while (time) std::this_thread::sleep_for(std::chrono::milliseconds{10});
    stop = true;
    for (auto& one : threads) one.join();
  }
  dice random{1};
  while (fibers.resume_any(random)) continue;  // those that are in the middle of something end it
  EXPECT_FALSE(commit_probes());  // what threads left behind at their end is noticed now at the latest
  EXPECT_EQ(wrong, 0U) << "first in line " << wrong_line;
  for (const auto& one : lasting) {
    EXPECT_TRUE(one.probe->balanced()) << one.name << ": " << told(*one.probe);
    EXPECT_EQ(one.probe->entries() + one.probe->missed(), *one.made) << one.name << ": " << told(*one.probe);
    std::printf("%s: %s\n", one.name, told(*one.probe).c_str());
  }
  std::printf("%lu fibers and %lu brief threads ended, %lu times probes came and went\n", fibers_ended.load(),
              threads_ended.load(), churns.load());
  EXPECT_GT(fibers_ended, 0U);
  EXPECT_GT(threads_ended, 0U);
  EXPECT_GT(churns, 0U);
}

}  // namespace
}  // namespace libprobe
