// Time that passes only when the test says so.
#pragma once

#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <libprobe/testing/import_redirect.hpp>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/stub.hpp>
#include <libprobe/testing/thread.hpp>
#include <mutex>

namespace libprobe {

namespace detail {

/// time() and gettimeofday() are the vDSO's own. While this lives, the program calls versions of them that
/// ask clock_gettime(), which can be replaced.
class times_by_clock {
 public:
  /// Keeps the process's one.
  class user {
   public:
    user() {
      const unwatched own_work;
      const std::lock_guard guard{workshop::instance().lock()};
      if (users++ == 0) current = new times_by_clock;
    }
    ~user() {
      const unwatched own_work;
      const std::lock_guard guard{workshop::instance().lock()};
      if (--users == 0) delete current;
    }
    user(const user&) = delete;
    user& operator=(const user&) = delete;
  };

 private:
  static inline unsigned users = 0;
  static inline times_by_clock* current = nullptr;

  static time_t time_of_day(time_t* out) {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    if (out != nullptr) *out = now.tv_sec;
    return now.tv_sec;
  }
  static int get_time_of_day(timeval* out, void* zone) {
    if (zone != nullptr) *static_cast<struct timezone*>(zone) = {};
    timespec now{};
    const int result = ::clock_gettime(CLOCK_REALTIME, &now);
    if (out != nullptr) *out = {now.tv_sec, now.tv_nsec / 1000};
    return result;
  }

  import_redirect time_{"time", ::dlsym(RTLD_DEFAULT, "time"), reinterpret_cast<const void*>(&time_of_day)};
  import_redirect gettimeofday_{"gettimeofday", ::dlsym(RTLD_DEFAULT, "gettimeofday"),
                                reinterpret_cast<const void*>(&get_time_of_day)};
};

}  // namespace detail

/// Until its end the clocks stand still for the threads in scope: clock_gettime(), gettimeofday(), time(),
/// and what stands on them (timespec_get(), the clocks of std::chrono, SQLite's 'now' ...). The wall clock
/// shows `at`, the monotonic clocks the moment of freezing; clocks of CPU time go on. One frozen clock inside
/// another: the newest counts. Members may be called by any thread.
///
/// Sleeping is the kernel's: deadlines that are computed from the frozen time are compared with the real one.
/// Calls of time() and gettimeofday() are caught in the modules that are loaded when it is made, not through
/// pointers taken before.
class frozen_clock {
 public:
  using time_point = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

  explicit frozen_clock(time_point at = std::chrono::system_clock::now(), thread_scope whose = all_threads)
      : clock_{location{&::clock_gettime},
               [this](auto original, clockid_t id, timespec* out) { return read(original, id, out); },
               whose} {
    set(at);
  }
  frozen_clock(const frozen_clock&) = delete;
  frozen_clock& operator=(const frozen_clock&) = delete;

  /// Both the wall clock and the monotonic ones.
  void advance(std::chrono::nanoseconds by) noexcept {
    wall_.fetch_add(by.count());
    monotonic_.fetch_add(by.count());
  }
  /// The wall clock alone, forwards or back.
  void set(time_point at) noexcept { wall_.store(at.time_since_epoch().count()); }
  [[nodiscard]] time_point now() const noexcept { return time_point{std::chrono::nanoseconds{wall_.load()}}; }

 private:
  static std::int64_t monotonic_now() noexcept {
    const unwatched own_work;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
  }
  template <class Original>
  int read(Original original, clockid_t id, timespec* out) const {
    std::int64_t frozen = 0;
    switch (id) {
      case CLOCK_REALTIME:
      case CLOCK_REALTIME_COARSE:
        frozen = wall_.load();
        break;
      case CLOCK_MONOTONIC:
      case CLOCK_MONOTONIC_COARSE:
      case CLOCK_MONOTONIC_RAW:
      case CLOCK_BOOTTIME:
        frozen = monotonic_.load();
        break;
      default:
        return original(id, out);
    }
    auto seconds = frozen / 1'000'000'000;
    auto rest = frozen % 1'000'000'000;
    if (rest < 0) {  // before 1970
      --seconds;
      rest += 1'000'000'000;
    }
    *out = {static_cast<time_t>(seconds), static_cast<long>(rest)};
    return 0;
  }

  std::atomic<std::int64_t> wall_{0};
  std::atomic<std::int64_t> monotonic_{monotonic_now()};
  detail::times_by_clock::user times_;
  stub<int(clockid_t, timespec*)> clock_;
};

}  // namespace libprobe
