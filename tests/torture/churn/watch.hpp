// What the churn holds true, and who watches that everybody gets on.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string_view>
#include <thread>
#include <vector>

#include "torture/duration.hpp"

namespace libprobe::churn {

#if defined(__SANITIZE_ADDRESS__)
inline constexpr bool addresses_checked = true, threads_checked = false;
#elif defined(__SANITIZE_THREAD__)
inline constexpr bool addresses_checked = false, threads_checked = true;
#else
inline constexpr bool addresses_checked = false, threads_checked = false;
#endif

inline std::atomic<std::uint64_t> broken{0};
inline const auto began = std::chrono::steady_clock::now();

/// Says what is wrong, with two figures that belong to it. From any context, handlers too: by then all is
/// lost.
inline void tell(const char* what, std::uint64_t seen, std::uint64_t expected) {
  char text[256];
  const std::chrono::duration<double> after = std::chrono::steady_clock::now() - began;
  const int size =
      std::snprintf(text, sizeof text, "churn: after %.2f s: %s: %llu, %llu\n", after.count(), what,
                    static_cast<unsigned long long>(seen), static_cast<unsigned long long>(expected));
  if (write(STDERR_FILENO, text, static_cast<std::size_t>(size)) < 0) std::abort();
}

/// An invariant. The first one that does not hold ends the churn.
inline bool must(bool holds, const char* invariant, std::uint64_t seen = 0, std::uint64_t expected = 0) {
  if (holds) return true;
  if (broken.fetch_add(1) == 0) tell(invariant, seen, expected);
  return false;
}

/// A figure that is different each time, for those who shall not go in step.
class dice {
 public:
  explicit dice(std::uint64_t seed) : state_{seed * 0x9e3779b97f4a7c15 + 1} {}
  std::uint64_t below(std::uint64_t limit) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % limit;
  }

 private:
  std::uint64_t state_;
};

inline void spin_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) continue;
}

/// A child that is waited for, and ends with us.
inline std::atomic<pid_t> child{0};

/// All is lost.
[[noreturn]] inline void give_up(int code) {
  if (const pid_t mine = child; mine != 0) kill(mine, SIGKILL);
  _exit(code);
}

/// LIBPROBE_CHURN_PATIENCE: the seconds after which what should end counts as hanging.
inline double patience() {
  const char* const wanted = std::getenv("LIBPROBE_CHURN_PATIENCE");
  return wanted != nullptr ? std::atof(wanted) : 60;
}

/// The threads. Each does its part again and again; one whose part does not end within the patience ends the
/// process, with the name of the part.
class crowd {
 public:
  explicit crowd(int times) : time_{times} {}
  ~crowd() { join(); }
  crowd(const crowd&) = delete;
  crowd& operator=(const crowd&) = delete;

  /// `part(round)`. LIBPROBE_CHURN_PARTS: only those that are named there, separated by commas.
  template <class Part>
  void add(const char* name, Part part) {
    if (!is_wanted(name)) return;
    auto& mine = beats_.emplace_back(name);
    threads_.emplace_back([this, &mine, part = std::move(part)]() mutable {
      for (std::uint64_t round = 0; time_ && broken == 0; ++round) {
        part(round);
        mine.count.fetch_add(1, std::memory_order_relaxed);
      }
      mine.ended = true;
    });
  }

  void join() {
    watch();
    for (auto& t : threads_) t.join();
    threads_.clear();
  }

  /// How often that part was done.
  [[nodiscard]] std::uint64_t done(std::string_view name) const {
    std::uint64_t sum = 0;
    for (const auto& one : beats_) {
      if (one.name == name) sum += one.count;
    }
    return sum;
  }

 private:
  struct beat {
    explicit beat(const char* of) : name{of} {}
    const char* name;
    std::atomic<std::uint64_t> count{0};
    std::atomic<bool> ended{false};
    std::uint64_t last = 0;
    std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  };

  static bool is_wanted(std::string_view name) {
    const char* const list = std::getenv("LIBPROBE_CHURN_PARTS");
    return list == nullptr ||
           (',' + std::string{list} + ',').find(',' + std::string{name} + ',') != std::string::npos;
  }

  void watch() {
    const double longest = patience();
    for (;;) {
      bool all_ended = true;
      for (auto& one : beats_) {
        if (one.ended) continue;
        all_ended = false;
        const auto now = std::chrono::steady_clock::now();
        if (const auto count = one.count.load(); count != one.last) {
          one.last = count;
          one.since = now;
        }
        const std::chrono::duration<double> waited = now - one.since;
        if (waited.count() < longest) continue;
        tell("this does not end (its rounds, the seconds)", one.last,
             static_cast<std::uint64_t>(waited.count()));
        tell(one.name, 0, 0);
        give_up(3);
      }
      if (all_ended) return;
      std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
  }

  test::until_time_is_over time_;
  std::deque<beat> beats_;
  std::vector<std::thread> threads_;
};

}  // namespace libprobe::churn
