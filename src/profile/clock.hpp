// The clock that calls are timed by: the CPU's counter where that is as good as a clock, else the kernel's.
#pragma once

#include <cstdint>
#include <ctime>

namespace libprobe::profile {

inline std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// True where the CPU's counter runs at one rate, in all power states and on all CPUs alike. Asks the kernel
/// once.
bool counter_is_invariant();

/// Tells ticks, of a rate that calibration knows.
class clock {
 public:
  explicit clock(bool use_counter) : counts_{use_counter && counter_is_invariant()} {}

  [[nodiscard]] bool counts() const noexcept { return counts_; }
  /// Signal-safe.
  [[nodiscard]] std::uint64_t now() const noexcept {
#if __has_builtin(__builtin_ia32_rdtsc)
    if (counts_) return __builtin_ia32_rdtsc();
#endif
    return monotonic_ns();
  }

 private:
  bool counts_;
};

/// What a clock's ticks are worth: measured between its making and the question, over a millisecond at least.
class calibration {
 public:
  explicit calibration(const clock& of) noexcept : of_{of}, begin_{read()} {}
  [[nodiscard]] double ns_per_tick() const noexcept;
  /// The tick of its making.
  [[nodiscard]] std::uint64_t origin() const noexcept { return begin_.ticks; }

 private:
  struct pair {
    std::uint64_t ticks;
    std::uint64_t ns;
  };
  [[nodiscard]] pair read() const noexcept;

  clock of_;
  pair begin_;
};

}  // namespace libprobe::profile
