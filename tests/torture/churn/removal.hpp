// Parts of the churn: probes that are registered, removed, registered again, read and destroyed.
#pragma once

#include <time.h>

#include <atomic>
#include <memory>
#include <thread>

#include "support/probing.hpp"
#include "torture/churn/watch.hpp"

namespace libprobe::churn {

template <int N>
[[gnu::noinline]] long called(long x) {
  return test::opaque(x) + N;
}

/// One object that is registered again and again, mostly before a commit: hits() is the calls made since,
/// whoever looks and whenever.
template <int N>
class again {
 public:
  void round(std::uint64_t number) {
    generation_.fetch_add(1);
    p_.flags = number % 4 == 0 ? probe_flags::no_jump : probe_flags::none;
    if (!must(!register_probe(p_), "a probe is refused")) return;
    made_ = 0;
    generation_.fetch_add(1);
    for (int i = 0; i < 3; ++i) call();
    settled();
    if (number % 5 == 0) {
      must(!disable_probe(p_) && called<N>(1) == 1 + N, "a probe rests");
      settled();
      must(!enable_probe(p_), "and is enabled again");
      call();
      settled();
    }
    if (number % 16 == 0) as_listed();
    generation_.fetch_add(1);
    if (number % 3 == 0) {
      unregister_probe(p_);
    } else {
      unregister_probe_fast(p_);
      if (number % 3 == 1) must(!commit_probes(), "a commit");
    }
    generation_.fetch_add(1);
  }

  /// From any thread.
  void read() const {
    const auto before = generation_.load();
    const auto first = hits(p_), second = hits(p_), made = made_.load();
    must(second <= most, "hits() is more than ever were made", second, most);
    if ((before & 1) != 0 || generation_ != before) return;
    must(first <= second, "hits() falls while the probe is registered", first, second);
    must(second <= made, "hits() is more than the calls that were made", second, made);
  }

 private:
  static constexpr std::uint64_t most = 4;

  void call() {
    made_.fetch_add(1);
    must(called<N>(1) == 1 + N, "the program's result");
  }
  void settled() {
    const auto seen = hits(p_), made = made_.load();
    must(seen == made, "hits() is not the calls when the caller has ended", seen, made);
  }
  void as_listed() {
    const auto rows = test::rows_at(test::code_of(&called<N>));
    if (!must(rows.size() == 1, "list_probes() has one row for it", rows.size())) return;
    must(rows[0].hits == hits(p_), "hits() and list_probes() disagree", hits(p_), rows[0].hits);
    must(rows[0].nmissed == nmissed(p_), "nmissed() and list_probes() disagree", nmissed(p_),
         rows[0].nmissed);
  }

  probe p_{.at = called<N>, .pre_handler = test::just_count};
  std::atomic<std::uint64_t> made_{0};
  std::atomic<std::uint64_t> generation_{0};  // odd: it is being registered or removed
};

/// A word by which those that use an object see that it is there.
class canary {
 public:
  ~canary() { value_ = dead; }
  void look() const {
    const auto now = value_.load();
    must(now != over, "a handler runs after its probe's removal has returned");
    must(now == over || now == alive, "a handler runs after its probe was destroyed", now);
  }
  void end() { value_ = over; }
  void begin() { value_ = alive; }

 private:
  static constexpr std::uint64_t alive = 0x616c697665, over = 0x6f766572, dead = 0x64656164;
  std::atomic<std::uint64_t> value_{alive};
};

/// A probe whose handler takes its time and looks at its object at the beginning and at the end. In this
/// order: the word ends when the probe's destructor has returned.
struct watched {
  canary word;
  probe p{};
};

/// Sleeps: so that many handlers run at once, on a machine of any size.
inline void take_time(std::uint64_t most_us) {
  thread_local dice random{reinterpret_cast<std::uintptr_t>(&random)};
  // Mostly short ones: most handlers are.
  if (random.below(4) == 0) return;
  const timespec time{0, static_cast<long>(random.below(most_us)) * 1000};
  nanosleep(&time, nullptr);
}

inline int look_and_stay(probe& p, registers&) {
  const auto& word = *static_cast<const canary*>(p.context);
  word.look();
  take_time(3000);
  word.look();
  return 0;
}

inline int stay_a_while(probe&, registers&) {
  take_time(2000);
  return 0;
}

template <int N>
[[gnu::noinline]] long stay(long x) {
  return test::opaque(x) + N;
}
inline constexpr int places = 3;
inline long (*const stays[places])(long) = {stay<21>, stay<22>, stay<23>};

/// Probes on what others call, removed in each way.
inline void come_and_go(std::uint64_t number) {
  auto one = std::make_unique<watched>();
  one->p.at = stays[number % places];
  one->p.pre_handler = look_and_stay;
  one->p.context = &one->word;
  one->p.flags = number % 3 == 0 ? probe_flags::no_jump : probe_flags::none;
  if (!must(!register_probe(one->p), "a probe is refused")) return;
  std::this_thread::sleep_for(std::chrono::microseconds{number % 7 * 100});
  if (number % 4 == 0) return;  // its destructor removes it
  if (number % 4 == 1) {
    unregister_probe_fast(one->p);
    std::this_thread::yield();
    return;  // the same, queued
  }
  unregister_probe_fast(one->p);
  if (number % 4 == 2) {
    must(!register_probe(one->p), "registered again before the commit");
    unregister_probe(one->p);
  } else {
    must(!commit_probes(), "a commit");
  }
  one->word.end();
  std::this_thread::yield();
}

}  // namespace libprobe::churn
