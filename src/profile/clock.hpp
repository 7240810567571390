// The clock that calls are timed by: the CPU's counter where that is as good as a clock, else the kernel's.
#pragma once

#include <ctime>

#include <cstdint>

namespace libprobe::profile {

inline std::uint64_t monotonic_ns() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(now.tv_nsec);
}

/// True where the counter runs at one rate, in all power states and for all CPUs alike. Set before the first
/// probe.
extern const bool counter_is_invariant;

/// Ticks of a rate that calibration tells. Signal-safe.
inline std::uint64_t ticks() noexcept {
#if __has_builtin(__builtin_ia32_rdtsc)
  if (counter_is_invariant) return __builtin_ia32_rdtsc();
#endif
  return monotonic_ns();
}

/// What ticks are worth: measured between its making and the question, over a millisecond at least.
class calibration {
 public:
  calibration() noexcept : begin_{read()} {}
  [[nodiscard]] double ns_per_tick() const noexcept;
  /// The tick of its making.
  [[nodiscard]] std::uint64_t origin() const noexcept { return begin_.ticks; }

 private:
  struct pair {
    std::uint64_t ticks;
    std::uint64_t ns;
  };
  static pair read() noexcept;

  pair begin_;
};

}  // namespace libprobe::profile
