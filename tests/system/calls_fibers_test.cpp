// Followed calls on stacks that the program switches by itself: they begin in one thread, throw in another
// and end in a third, while threads end whose fibers live on.
#include <boost/context/fiber.hpp>
#include <thread>

#include "support/fibers.hpp"
#include "support/observing.hpp"

namespace libprobe {
namespace {

using test::accounts_for;
using test::by;
using test::ends;
using test::fiber;
using test::observe;
using test::opaque;

// ---- what the fibers do ----
// `pause` gives the thread back; whoever goes on may be another one.
using pausing = void (*)(void* self);
struct walk {
  void* self;
  pausing pause;
};

/// Goes to sleep and, for odd n, throws it after waking up.
[[gnu::noipa]] long step(const walk& w, long n) {
  w.pause(w.self);
  if (opaque(n) % 2 != 0) throw n;
  asm volatile("" ::: "memory");
  return n;
}
/// Sleeps on the way down and on the way up; what step() throws is thrown through those of an even depth, and
/// caught by the others. The sum of what came back.
[[gnu::noipa]] long descend(const walk& w, long n, int depth) {
  if (depth == 0) return step(w, n);
  w.pause(w.self);
  long sum = 0;
  if (depth % 2 == 0) {
    sum = opaque(descend(w, n, depth - 1)) + 1;
  } else {
    try {
      sum = opaque(descend(w, n, depth - 1)) + 1;
    } catch (long thrown) {
      sum = 1000 * thrown;
    }
  }
  w.pause(w.self);
  return sum;
}
/// Calls that have nothing to do with fibers.
[[gnu::noipa]] long plain(long n) { return n <= 0 ? 0 : opaque(plain(n - 1)) + 1; }

constexpr int deepest = 5;  // odd: what is thrown is caught
constexpr long rounds = 12;

long fiber_body(const walk& w, long id) {
  long sum = 0;
  for (long n = 0; n < rounds; ++n) {
    sum += opaque(descend)(w, id + n, deepest);
    try {
      sum += opaque(step)(w, n);
    } catch (long thrown) {
      sum += 1000 * thrown;
    }
  }
  return sum;
}
/// The same, without calls.
long true_sum(long id) {
  long sum = 0;
  for (long n = 0; n < rounds; ++n) {
    sum += (id + n) % 2 == 0 ? id + n + deepest : 1000 * (id + n) + deepest - 1;
    sum += n % 2 == 0 ? n : 1000 * n;
  }
  return sum;
}
/// Of step(): half of either kind throws. Nothing passes through descend(), but where depth is 0.
ends steps_of(long fibers) {
  const auto half = static_cast<std::uint64_t>(fibers * rounds);
  return {half, half};
}
ends descents_of(long fibers) {
  const auto all = static_cast<std::uint64_t>(fibers * rounds);
  return {all * deepest + all / 2, all / 2};
}

/// A way to have fibers.
struct making {
  const char* name;
  class some {
   public:
    virtual ~some() = default;
    virtual bool resume() = 0;
  };
  std::unique_ptr<some> (*make)(long id, long& sum);
};

class by_makecontext final : public making::some {
 public:
  by_makecontext(long id, long& sum)
      : fiber_{[id, &sum](fiber& self) {
          sum = fiber_body({&self, [](void* f) { static_cast<fiber*>(f)->yield(); }}, id);
        }} {}
  bool resume() override { return fiber_.resume(); }

 private:
  fiber fiber_;
};
class by_boost final : public making::some {
 public:
  by_boost(long id, long& sum)
      : there_{[this, id, &sum](boost::context::fiber&& caller) {
          back_ = std::move(caller);
          sum = fiber_body({this,
                            [](void* self) {
                              auto& mine = *static_cast<by_boost*>(self);
                              mine.back_ = std::move(mine.back_).resume();
                            }},
                           id);
          return std::move(back_);
        }} {}
  bool resume() override {
    there_ = std::move(there_).resume();
    return static_cast<bool>(there_);
  }

 private:
  boost::context::fiber back_, there_;
};
const making ways[] = {
    {"Makecontext",
     [](long id, long& sum) -> std::unique_ptr<making::some> {
       return std::make_unique<by_makecontext>(id, sum);
     }},
    {"Boost",
     [](long id, long& sum) -> std::unique_ptr<making::some> { return std::make_unique<by_boost>(id, sum); }},
};

// ---- who runs them ----
constexpr long fiber_count = 24;
using crowd = std::vector<std::unique_ptr<making::some>>;

/// One after the other, in this thread.
void in_one_thread(crowd& all) {
  for (bool more = true; more;) {
    more = false;
    for (auto& one : all) {
      if (one == nullptr) continue;
      if (one->resume()) {
        more = true;
      } else {
        one.reset();
      }
      plain(3);
    }
  }
}
/// A round in one thread, the next in another, strictly by turns: each fiber is in another thread each time.
void by_turns(crowd& all) {
  constexpr int threads = 3;
  std::atomic<int> turn{0};
  std::atomic<bool> more{true};
  std::vector<std::thread> workers;
  for (int mine = 0; mine < threads; ++mine) {
    workers.emplace_back([&, mine] {
      for (int round = mine;; round += threads) {
        while (turn != round) std::this_thread::yield();
        bool any = false;
        for (auto& one : all) {
          if (one == nullptr) continue;
          if (one->resume()) {
            any = true;
          } else {
            one.reset();
          }
          plain(3);
        }
        more = any && more;
        ++turn;
        if (!more) return;
      }
    });
  }
  for (auto& w : workers) w.join();
}
/// Each round in a thread of its own, which ends while its fibers are in the middle of followed calls.
void by_threads_that_end(crowd& all) {
  std::atomic<bool> more{true};
  for (int round = 0; more; ++round) {
    std::thread{[&] {
      bool any = false;
      for (auto& one : all) {
        if (one == nullptr) continue;
        if (one->resume()) {
          any = true;
        } else {
          one.reset();
        }
      }
      plain(40);  // over all of the stack that the last thread had
      more = any;
    }}.join();
    EXPECT_FALSE(round % 8 == 0 && commit_probes());
  }
}

struct running {
  const char* name;
  void (*run)(crowd&);
};
const running runs[] = {{"InOneThread", in_one_thread},
                        {"MovedByTurns", by_turns},
                        {"ThroughThreadsThatEnd", by_threads_that_end}};

class Fibers : public testing::TestWithParam<std::tuple<making, running, by>> {};
std::string name_of_case(const testing::TestParamInfo<Fibers::ParamType>& t) {
  return std::string{std::get<0>(t.param).name} + std::get<1>(t.param).name + "SeenBy" +
         test::name_of(std::get<2>(t.param));
}
INSTANTIATE_TEST_SUITE_P(Of, Fibers,
                         testing::Combine(testing::ValuesIn(ways), testing::ValuesIn(runs),
                                          testing::ValuesIn(test::every_follower)),
                         name_of_case);

/// All sums are right.
testing::AssertionResult run_all(const Fibers::ParamType& how) {
  std::vector<long> sums(fiber_count);
  crowd all;
  for (long id = 0; id < fiber_count; ++id)
    all.push_back(std::get<0>(how).make(id, sums[static_cast<std::size_t>(id)]));
  std::get<1>(how).run(all);
  for (long id = 0; id < fiber_count; ++id) {
    const auto sum = sums[static_cast<std::size_t>(id)];
    if (sum != true_sum(id))
      return testing::AssertionFailure() << "fiber " << id << ": " << sum << ", not " << true_sum(id);
  }
  return testing::AssertionSuccess();
}

TEST_P(Fibers, EndEachCallOnceAndRightly) {
  ASSERT_TRUE(run_all(GetParam())) << "without probes";
  const auto kind = std::get<2>(GetParam());
  for (const std::size_t maxactive : {2000U, 1U, 2U, 4U}) {
    const auto of_step = observe(kind, test::code_of(&step), maxactive);
    const auto of_descend = observe(kind, test::code_of(&descend), maxactive);
    const auto of_plain = observe(kind, test::code_of(&plain), maxactive);
    ASSERT_TRUE(run_all(GetParam())) << "with up to " << maxactive;
    EXPECT_TRUE(accounts_for(*of_step, steps_of(fiber_count))) << "with up to " << maxactive;
    EXPECT_TRUE(accounts_for(*of_descend, descents_of(fiber_count))) << "with up to " << maxactive;
    const auto seen = of_plain->seen();
    EXPECT_EQ(seen.unwound, 0U) << "with up to " << maxactive;
    EXPECT_EQ(seen.returned, seen.begun) << "with up to " << maxactive;
    if (maxactive == 2000) {
      EXPECT_EQ(of_step->seen().missed, 0U);
      EXPECT_EQ(of_plain->seen().missed, 0U);
      if (kind != by::typed) {
        EXPECT_EQ(of_descend->seen().missed, 0U);
      }
    }
  }
}

// ---- the shared case: fibers that are still inside at the end ----
TEST(FibersGivenUp, ThatMovedBetweenTwoThreadsAndThrew) {
  constexpr int count = 8, turns = 400;
  for (const std::size_t maxactive : {0U, 1U, 2U, 4U}) {
    test::followed p{&step, maxactive};
    std::array<long, count> sums{};
    std::vector<std::unique_ptr<fiber>> all;
    for (auto& sum : sums) {
      all.push_back(std::make_unique<fiber>([&sum](fiber& self) {
        const walk w{&self, [](void* f) { static_cast<fiber*>(f)->yield(); }};
        for (long n = 0;; ++n) try {
            sum += opaque(step)(w, n);
          } catch (long) {
            sum += 1000;
          }
      }));
    }
    std::atomic<int> turn{0};
    const auto work = [&](int mine) {
      for (int round = mine; round < turns; round += 2) {
        while (turn != round) std::this_thread::yield();
        for (auto& f : all) f->resume();
        ++turn;
      }
    };
    std::thread a{work, 0}, b{work, 1};
    a.join();
    b.join();
    // Of each, n = 0 to turns - 2 have ended.
    constexpr long half = turns / 2;
    for (const long sum : sums) EXPECT_EQ(sum, (half - 1) * 1000 + half * (half - 1));
    constexpr auto ended = std::uint64_t{count} * (turns - 1);
    EXPECT_TRUE(p.right());
    EXPECT_EQ(p.entries() + p.missed(), ended + count);
    const auto inside = p.entries() - p.returns() - p.unwinds();
    EXPECT_LE(p.unwinds(), std::uint64_t{count} * (half - 1));
    EXPECT_LE(p.returns(), std::uint64_t{count} * half);
    EXPECT_EQ(inside, maxactive == 0 ? count : std::min<std::size_t>(inside, maxactive));
    if (maxactive == 0) {
      EXPECT_EQ(p.missed(), 0U);
      EXPECT_EQ(p.unwinds(), std::uint64_t{count} * (half - 1));
    }
  }
}

/// One that began in a first thread, threw in a second and ends in a third, the first two being gone: through
/// calls that lie around each other.
TEST(FibersMoved, BeginThrowAndEndInThreeThreads) {
  struct places {
    [[gnu::noipa]] static long innermost(fiber& f) {
      f.yield();  // begins in the first
      throw 7L;   // in the second
    }
    [[gnu::noipa]] static long middle(fiber& f) { return opaque(innermost(f)) + 1; }
    [[gnu::noipa]] static long outermost(fiber& f) {
      long got = 0;
      try {
        got = opaque(middle(f));
      } catch (long value) {
        got = value;
      }
      f.yield();
      return opaque(got) + 100;  // in the third
    }
  };
  const auto once = [] {
    long result = 0;
    fiber f{[&](fiber& self) { result = opaque(places::outermost)(self); }};
    for (int thread = 0; thread < 3; ++thread) std::thread{[&] { f.resume(); }}.join();
    return result;
  };
  ASSERT_EQ(once(), 107) << "without probes";
  test::followed a{&places::outermost, 1}, b{&places::middle, 1}, c{&places::innermost, 1};
  for (unsigned round = 1; round <= 100; ++round) {
    ASSERT_EQ(once(), 107);
    for (const auto* one : {&a, &b, &c}) {
      ASSERT_TRUE(one->balanced());
      ASSERT_EQ(one->entries(), round);
      ASSERT_EQ(one->missed(), 0U);
    }
    ASSERT_EQ(a.returns(), round);
    ASSERT_EQ(b.unwinds(), round);
    ASSERT_EQ(c.unwinds(), round);
  }
}

/// Threads that end with fibers on their own stacks: those calls are over, and their instances come back.
TEST(FibersGivenUp, OnTheStackOfAThreadThatEnds) {
  constexpr std::size_t maxactive = 4;
  test::followed p{&step, maxactive};
  std::uint64_t calls = 0;
  for (int round = 0; round < 60; ++round) {
    std::thread{[] {
      alignas(64) char stack[64 * 1024];
      fiber f{[](fiber& self) {
                opaque(step)({&self, [](void* one) { static_cast<fiber*>(one)->yield(); }}, 2);
              },
              stack, sizeof stack};
      f.resume();  // it is inside of step() for ever
    }}.join();
    ++calls;
    EXPECT_FALSE(round % 4 == 3 && commit_probes());
  }
  EXPECT_TRUE(p.right());
  EXPECT_EQ(p.returns(), 0U);
  EXPECT_EQ(p.entries() + p.missed(), calls);
  EXPECT_LE(p.entries() - p.unwinds(), maxactive) << "only those of the last ones may not be told yet";
  EXPECT_GE(p.unwinds(), calls / 2);
}

// ---- boost's way to end a fiber: by an exception of its own, whoever destroys it ----
class ForcedUnwind : public testing::TestWithParam<by> {};
INSTANTIATE_TEST_SUITE_P(SeenBy, ForcedUnwind, testing::ValuesIn(test::every_follower),
                         [](const auto& t) { return test::name_of(t.param); });
TEST_P(ForcedUnwind, PassesEachCallOnce) {
  static std::atomic<long> destroyed;
  struct places {
    [[gnu::noipa]] static long sleeps(boost::context::fiber& back, int depth) {
      struct tracked {
        ~tracked() { ++destroyed; }
      } const here{};
      if (depth == 0) {
        while (opaque(depth) == 0) back = std::move(back).resume();  // until it is ended by force
        return 0;
      }
      return opaque(sleeps(back, depth - 1)) + 1;
    }
  };
  constexpr int depth = 6, count = 20;
  const auto make = [] {
    boost::context::fiber made{[](boost::context::fiber&& caller) {
      boost::context::fiber back = std::move(caller);
      opaque(places::sleeps)(back, depth);
      return back;
    }};
    return std::move(made).resume();
  };
  // Each is begun here; some are resumed, and most are destroyed in another thread.
  const auto run = [&] {
    std::vector<boost::context::fiber> all;
    for (int i = 0; i < count; ++i) all.push_back(make());
    std::thread{[&] {
      for (int i = 0; i < count; i += 3) {
        auto& one = all[static_cast<std::size_t>(i)];
        one = std::move(one).resume();
      }
      all.resize(count / 4);
    }}.join();
    all.resize(count / 8);
    std::thread{[&] { all.clear(); }}.join();
  };
  run();
  ASSERT_EQ(destroyed, count * (depth + 1)) << "without probes";
  for (const std::size_t maxactive : {200U, 1U, 2U, 4U}) {
    const auto seen = observe(GetParam(), test::code_of(&places::sleeps), maxactive);
    for (int round = 1; round <= 10; ++round) {
      destroyed = 0;
      run();
      ASSERT_EQ(destroyed, count * (depth + 1));
    }
    EXPECT_TRUE(accounts_for(*seen, {0, 10 * count * (depth + 1)})) << "with up to " << maxactive;
    if (maxactive == 200) {
      EXPECT_EQ(seen->seen().missed, 0U);
    }
  }
  destroyed = 0;
}

}  // namespace
}  // namespace libprobe
