// A built-in action: how long calls of a function take, as a histogram, and calls nobody.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// Calls by duration, in ticks of the CPU's time-stamp counter (ticks_per_second()). Log-linear: every power
/// of two in eight equal parts, so what quantile() tells is at most a sixteenth off.
struct latency_buckets {
  static constexpr unsigned part_bits = 3;
  static constexpr unsigned value_bits = 48;  // longer calls count as so long
  static constexpr std::size_t count_of = std::size_t{value_bits - part_bits + 1} << part_bits;

  std::array<std::uint64_t, count_of> calls{};
  std::uint64_t total_ticks = 0;

  static constexpr std::size_t bucket_of(std::uint64_t ticks) noexcept {
    constexpr std::uint64_t longest = (std::uint64_t{1} << value_bits) - 1;
    if (ticks > longest) ticks = longest;
    const auto shift = static_cast<unsigned>(std::bit_width(ticks >> part_bits | 1U)) - 1;
    return (static_cast<std::size_t>(shift) << part_bits) + static_cast<std::size_t>(ticks >> shift);
  }
  /// The shortest duration that a bucket counts.
  static constexpr std::uint64_t first_in(std::size_t bucket) noexcept {
    constexpr std::size_t parts = std::size_t{1} << part_bits;
    if (bucket < 2 * parts) return bucket;
    const std::size_t shift = (bucket >> part_bits) - 1;
    return static_cast<std::uint64_t>(parts + (bucket & (parts - 1))) << shift;
  }
  [[nodiscard]] std::uint64_t count() const noexcept;
  /// The duration, in ticks, that the part `q` (0 to 1) of all calls did not exceed; 0 without calls.
  [[nodiscard]] std::uint64_t quantile(double q) const noexcept;
};

/// Measures the calls of one function, recursive ones each for itself. hits() is the calls that were
/// followed; those that end by an exception or longjmp are in no bucket. Owned by the caller, neither copied
/// nor moved while registered.
struct latency {
  location at;                ///< a function's first instruction, else errc::not_function_entry
  std::size_t maxactive = 0;  ///< as a retprobe's
  probe_flags flags = probe_flags::none;
  void* context = nullptr;  ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};
};

/// As for retprobes, see retprobe.hpp. errc::out_of_memory where there is no room for the threads' own
/// histograms.
std::error_code register_latency(latency& l) noexcept;
std::error_code register_latencies(std::span<latency* const> all) noexcept;
void unregister_latency(latency& l) noexcept;
void unregister_latencies(std::span<latency* const> all) noexcept;
void unregister_latency_fast(latency& l) noexcept;
std::error_code enable_latency(latency& l) noexcept;
std::error_code disable_latency(latency& l) noexcept;

/// What was measured so far; nothing when it is not registered. Any thread, not from a handler.
latency_buckets latencies_of(const latency& l) noexcept;
/// Of the time-stamp counter; measured once, which takes some milliseconds. Any thread.
double ticks_per_second() noexcept;

inline std::uint64_t hits(const latency& l) noexcept { return detail::hits(l.state_); }
inline std::uint64_t nmissed(const latency& l) noexcept { return detail::nmissed(l.state_); }
inline void* address_of(const latency& l) noexcept { return detail::address_of(l.state_); }

namespace detail {
any_probe of_any_kind(latency& l) noexcept;
}

}  // namespace libprobe
