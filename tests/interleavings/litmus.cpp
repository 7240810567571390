// The explorer shows what the memory model allows, and nothing else: the known small programs, and random
// ones, whose outcomes are the same with and without reduction.
#include <cstdio>
#include <random>
#include <set>
#include <string>

#include "interleavings/model.hpp"
#include "os/atomic.hpp"

namespace {

using libprobe::atomic;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using std::memory_order_seq_cst;
using outcomes = std::set<std::string>;

int failures = 0;

struct memory {
  atomic<int> x{0}, y{0};
  std::string results;
  int r[4] = {-1, -1, -1, -1};
};

using body = std::function<void(memory&)>;

constexpr std::uint64_t most_whole = 50'000;
struct seen {
  outcomes all;
  std::uint64_t executions = 0;
  bool complete = true;
};

/// Without reduction the larger programs are given up.
seen outcomes_of(const std::vector<body>& threads, bool reduced, int results,
                 std::uint64_t most = most_whole) {
  seen made;
  const auto found = model::explore({reduced ? -1 : 100, -1, most}, [&](model::program& p) {
    auto m = std::make_shared<memory>();
    for (const auto& t : threads) p.threads.emplace_back([m, &t] { t(*m); });
    p.finally = [m, &made, results] {
      std::string one;
      for (int i = 0; i < results; ++i) one += std::to_string(m->r[i]);
      made.all.insert(one);
    };
  });
  made.executions = found.executions;
  made.complete = found.executions + found.cut <= most;
  if (made.complete && !found.violation.empty()) made.all.insert("violation: " + found.violation);
  return made;
}

std::string joined(const outcomes& all) {
  std::string made;
  for (const auto& one : all) made += one + " ";
  return made;
}

/// All outcomes, and no others; with reduction and without.
void expect(const char* title, const std::vector<body>& threads, int results, const outcomes& expected) {
  const auto reduced = outcomes_of(threads, true, results), whole = outcomes_of(threads, false, results);
  const bool good = reduced.complete && reduced.all == expected && (!whole.complete || whole.all == expected);
  std::printf("%-64s %s%s (%llu executions; without reduction %llu%s)\n", title,
              good ? "" : "WRONG: ", joined(reduced.all).c_str(),
              static_cast<unsigned long long>(reduced.executions),
              static_cast<unsigned long long>(whole.executions), whole.complete ? "" : ", and no end");
  if (!good)
    std::printf("  expected %s; without reduction %s\n", joined(expected).c_str(), joined(whole.all).c_str());
  failures += good ? 0 : 1;
}

void expect_violation(const char* title, const std::string& what,
                      const std::function<void(model::program&)>& setup) {
  const auto found = model::explore({}, setup);
  const bool good =
      found.violation.find(what) != std::string::npos && (what.empty() == found.violation.empty());
  std::printf("%-64s %s%s\n", title,
              good ? "" : "WRONG: ", found.violation.empty() ? "no violation" : found.violation.c_str());
  failures += good ? 0 : 1;
}

void store_buffering() {
  const auto sb = [](std::memory_order s, std::memory_order l, const std::function<void()>& first,
                     const std::function<void()>& second) {
    return std::vector<body>{[=](memory& m) {
                               m.x.store(1, s);
                               first();
                               m.r[0] = m.y.load(l);
                             },
                             [=](memory& m) {
                               m.y.store(1, s);
                               second();
                               m.r[1] = m.x.load(l);
                             }};
  };
  const auto nothing = [] {};
  const auto full = [] { libprobe::thread_fence(memory_order_seq_cst); };
  const auto acq_rel = [] { libprobe::thread_fence(memory_order_acq_rel); };
  const auto everywhere = [] { model::barrier_everywhere(); };
  const outcomes any{"00", "01", "10", "11"}, ordered{"01", "10", "11"};
  expect("SB, relaxed", sb(memory_order_relaxed, memory_order_relaxed, nothing, nothing), 2, any);
  expect("SB, release and acquire", sb(memory_order_release, memory_order_acquire, nothing, nothing), 2, any);
  expect("SB, sequentially consistent", sb(memory_order_seq_cst, memory_order_seq_cst, nothing, nothing), 2,
         ordered);
  expect("SB, full fences", sb(memory_order_relaxed, memory_order_relaxed, full, full), 2, ordered);
  expect("SB, one full fence", sb(memory_order_relaxed, memory_order_relaxed, full, nothing), 2, any);
  expect("SB, acquire and release fences", sb(memory_order_relaxed, memory_order_relaxed, acq_rel, acq_rel),
         2, any);
  expect("SB, membarrier on one side", sb(memory_order_relaxed, memory_order_relaxed, nothing, everywhere), 2,
         ordered);
  expect("SB, a sequentially consistent RMW is no fence",
         {[](memory& m) {
            m.x.fetch_add(1, memory_order_seq_cst);
            m.r[0] = m.y.load(memory_order_relaxed);
          },
          [](memory& m) {
            m.y.fetch_add(1, memory_order_seq_cst);
            m.r[1] = m.x.load(memory_order_relaxed);
          }},
         2, any);
}

void message_passing() {
  const auto mp = [](std::memory_order s, std::memory_order l, const std::function<void()>& before,
                     const std::function<void()>& after) {
    return std::vector<body>{[=](memory& m) {
                               m.x.store(1, memory_order_relaxed);
                               before();
                               m.y.store(1, s);
                             },
                             [=](memory& m) {
                               m.r[0] = m.y.load(l);
                               after();
                               m.r[1] = m.x.load(memory_order_relaxed);
                             }};
  };
  const auto nothing = [] {};
  const auto release = [] { libprobe::thread_fence(memory_order_release); };
  const auto acquire = [] { libprobe::thread_fence(memory_order_acquire); };
  const outcomes any{"00", "01", "10", "11"}, ordered{"00", "01", "11"};
  expect("MP, relaxed", mp(memory_order_relaxed, memory_order_relaxed, nothing, nothing), 2, any);
  expect("MP, release and acquire", mp(memory_order_release, memory_order_acquire, nothing, nothing), 2,
         ordered);
  expect("MP, relaxed load: loads overtake", mp(memory_order_release, memory_order_relaxed, nothing, nothing),
         2, any);
  expect("MP, relaxed store: stores overtake",
         mp(memory_order_relaxed, memory_order_acquire, nothing, nothing), 2, any);
  expect("MP, fences", mp(memory_order_relaxed, memory_order_relaxed, release, acquire), 2, ordered);
  expect("MP, no acquire fence", mp(memory_order_relaxed, memory_order_relaxed, release, nothing), 2, any);
  expect("MP, release sequence through a relaxed RMW",
         {[](memory& m) {
            m.x.store(1, memory_order_relaxed);
            m.y.store(1, memory_order_release);
          },
          [](memory& m) { m.y.fetch_add(1, memory_order_relaxed); },
          [](memory& m) {
            m.r[0] = m.y.load(memory_order_acquire) == 2 ? 1 : 0;
            m.r[1] = m.x.load(memory_order_relaxed);
          }},
         2, ordered);
}

void others() {
  const auto r = memory_order_relaxed;
  expect("CoRR",
         {[=](memory& m) { m.x.store(1, r); },
          [=](memory& m) {
            m.r[0] = m.x.load(r);
            m.r[1] = m.x.load(r);
          }},
         2, {"00", "01", "11"});
  const auto iriw = [](std::memory_order s, std::memory_order l, bool fenced) {
    const auto fence = [fenced] {
      if (fenced) libprobe::thread_fence(memory_order_seq_cst);
    };
    return std::vector<body>{[=](memory& m) { m.x.store(1, s); }, [=](memory& m) { m.y.store(1, s); },
                             [=](memory& m) {
                               m.r[0] = m.x.load(l);
                               fence();
                               m.r[1] = m.y.load(l);
                             },
                             [=](memory& m) {
                               m.r[2] = m.y.load(l);
                               fence();
                               m.r[3] = m.x.load(l);
                             }};
  };
  outcomes all, ordered;
  for (int i = 0; i < 16; ++i) {
    std::string one;
    for (int bit = 0; bit < 4; ++bit) one += (i >> bit & 1) != 0 ? '1' : '0';
    all.insert(one);
    if (one != "1010") ordered.insert(one);
  }
  expect("IRIW, release and acquire", iriw(memory_order_release, memory_order_acquire, false), 4, all);
  expect("IRIW, sequentially consistent", iriw(memory_order_seq_cst, memory_order_seq_cst, false), 4,
         ordered);
  expect("IRIW, relaxed with full fences", iriw(r, r, true), 4, ordered);
  // What the model leaves out, as its header says.
  expect("LB (C++ allows 11 too)",
         {[=](memory& m) {
            m.r[0] = m.x.load(r);
            m.y.store(1, r);
          },
          [=](memory& m) {
            m.r[1] = m.y.load(r);
            m.x.store(1, r);
          }},
         2, {"00", "01", "10"});
  expect("two increments",
         {[=](memory& m) { m.r[0] = m.x.fetch_add(1, r); }, [=](memory& m) { m.r[1] = m.x.fetch_add(1, r); }},
         2, {"01", "10"});
  expect("a failed exchange may have read an old value",
         {[=](memory& m) {
            m.x.store(1, r);
            m.x.store(2, r);
          },
          [=](memory& m) {
            int expected = 2;
            m.r[0] = m.x.compare_exchange_strong(expected, 3, r) ? 1 : 0;
            m.r[1] = expected;
          }},
         2, {"00", "01", "12"});
  expect("waiting ends",
         {[=](memory& m) {
            m.y.store(1, r);
            m.x.store(1, memory_order_release);
          },
          [=](memory& m) {
            while (m.x.load(memory_order_acquire) == 0) model::spin();
            m.r[0] = m.y.load(r);
          }},
         1, {"1"});
}

struct shared {
  model::data<int> value;
  atomic<int> flag{0};
};

void violations() {
  const auto pass = [](std::memory_order s, std::memory_order l) {
    return [=](model::program& p) {
      auto m = std::make_shared<shared>();
      p.threads = {[=] {
                     m->value.set(1);
                     m->flag.store(1, s);
                   },
                   [=] {
                     if (m->flag.load(l) == 1) model::check(m->value.get() == 1, "another value");
                   }};
    };
  };
  expect_violation("data passed by release and acquire", "",
                   pass(memory_order_release, memory_order_acquire));
  expect_violation("data passed by a relaxed store", "data race",
                   pass(memory_order_relaxed, memory_order_acquire));
  expect_violation("data passed by a relaxed load", "data race",
                   pass(memory_order_release, memory_order_relaxed));
  const auto use = [](bool waits) {
    return [=](model::program& p) {
      auto m = std::make_shared<shared>();
      auto* object = new shared;
      p.threads = {[=] {
                     object->flag.load(memory_order_relaxed);
                     m->flag.store(1, memory_order_release);
                   },
                   [=] {
                     while (waits && m->flag.load(memory_order_acquire) == 0) model::spin();
                     delete object;
                   }};
    };
  };
  expect_violation("freed behind its last use", "", use(true));
  expect_violation("freed beside a use", "free", use(false));
  expect_violation("made, and published without release", "making", [](model::program& p) {
    auto m = std::make_shared<atomic<shared*>>(nullptr);
    p.threads = {[=] { m->store(new shared, memory_order_relaxed); },
                 [=] {
                   if (auto* s = m->load(memory_order_acquire)) s->flag.load(memory_order_relaxed);
                 }};
  });
  expect_violation("two that wait for each other", "for ever", [](model::program& p) {
    auto m = std::make_shared<memory>();
    p.threads = {[=] {
                   while (m->x.load(memory_order_acquire) == 0) model::spin();
                   m->y.store(1);
                 },
                 [=] {
                   while (m->y.load(memory_order_acquire) == 0) model::spin();
                   m->x.store(1);
                 }};
  });
  expect_violation("a lock", "", [](model::program& p) {
    struct guarded {
      model::mutex lock;
      model::data<int> count;
    };
    auto m = std::make_shared<guarded>();
    const auto add = [=] {
      m->lock.lock();
      m->count.set(m->count.get() + 1);
      m->lock.unlock();
    };
    p.threads = {add, add, add};
    p.finally = [=] { model::check(m->count.get() == 3, "an increment is lost"); };
  });
}

__thread int own = 7;

void thread_local_variables() {
  expect("each thread has its own thread-local variables",
         {[](memory& m) {
            own += 1;
            m.x.store(1, memory_order_relaxed);
            m.r[0] = own;
          },
          [](memory& m) {
            own += 2;
            m.y.store(1, memory_order_relaxed);
            m.r[1] = own;
          }},
         2, {"89"});
}

/// Programs of two or three threads with accesses, fences and barriers of all kinds.
void random_programs() {
  struct instruction {
    int what, where, order;
  };
  std::mt19937 random{14};
  const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  const std::memory_order loads[] = {memory_order_relaxed, memory_order_acquire, memory_order_seq_cst};
  const std::memory_order stores[] = {memory_order_relaxed, memory_order_release, memory_order_seq_cst};
  int wrong = 0, compared = 0;
  std::uint64_t few = 0, many = 0;
  constexpr int programs = 200;
  for (int i = 0; i < programs; ++i) {
    const int count = 2 + below(2);
    std::vector<body> threads;
    for (int t = 0; t < count; ++t) {
      std::vector<instruction> code;
      for (int k = 0, n = count == 2 ? 3 + below(2) : 2 + below(2); k < n; ++k)
        code.push_back({below(12), below(2), below(3)});
      threads.emplace_back([=](memory& m) {
        int seen = 0;
        for (const auto& one : code) {
          auto& at = one.where == 0 ? m.x : m.y;
          if (one.what < 5) {
            seen = seen * 5 + at.load(loads[one.order]);
          } else if (one.what < 9) {
            at.store(t + 1, stores[one.order]);
          } else if (one.what == 9) {
            seen = seen * 5 + at.fetch_add(1, stores[one.order]);
          } else if (one.what == 10) {
            libprobe::thread_fence(memory_order_seq_cst);
          } else {
            model::barrier_everywhere();
          }
        }
        m.r[t] = seen;
      });
    }
    const auto reduced = outcomes_of(threads, true, count), whole = outcomes_of(threads, false, count, 5'000);
    if (!whole.complete) continue;
    ++compared;
    few += reduced.executions;
    many += whole.executions;
    if (!reduced.complete || reduced.all != whole.all) ++wrong;
  }
  std::printf("%d random programs: %d whose outcomes differ with reduction (%llu executions; %llu without)\n",
              compared, wrong, static_cast<unsigned long long>(few), static_cast<unsigned long long>(many));
  if (compared < programs / 4) ++failures;
  failures += wrong;
}

}  // namespace

int main() {
  store_buffering();
  message_passing();
  others();
  violations();
  thread_local_variables();
  random_programs();
  return failures == 0 ? 0 : 1;
}
