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

/// Measures the calls of one function, recursive ones each for itself. Like the kernel's hist triggers on a
/// kretprobe (Documentation/trace/histogram.rst).
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// Its fields are read when it is registered. A latency that is still registered, or queued, when it is
/// destroyed is unregistered and committed by its destructor; inside a handler that aborts. When its module
/// is unloaded it is gone: hits() and address_of() stay, and it may be unregistered, destroyed, or registered
/// anew.
struct latency {
  location at;                ///< a function's first instruction, else errc::not_function_entry
  std::size_t maxactive = 0;  ///< calls measured at once; 0: 64 for each CPU, 256 at least
  probe_flags flags = probe_flags::none;
  void* context = nullptr;       ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};  ///< libprobe's own
};

/// Places and arms the latency. On failure nothing has changed; last_error_detail() may say more.
/// errc::out_of_memory where there is no room for the threads' own histograms; errc::unfollowable_function
/// for setjmp, vfork and their like; else why the place is refused, see errc. Any thread, handlers too (it
/// allocates). Blocks on other control calls, never on a grace period.
std::error_code register_latency(latency& l) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_latency().
std::error_code register_latencies(std::span<latency* const> all) noexcept;

/// unregister_latency_fast() and commit_probes(): when it returns the object may be freed or registered anew.
/// Calls that are inside the function return rightly, and are in no bucket; nobody waits for them. Nothing
/// happens for one that is not registered. Any thread; blocks for one grace period, as long as the longest
/// handler that is running. From inside a handler or a replacement it cannot wait: the latency is only
/// queued, left to a later commit.
void unregister_latency(latency& l) noexcept;
/// One grace period for all of them. Otherwise like unregister_latency().
void unregister_latencies(std::span<latency* const> all) noexcept;
/// Disarms the latency and queues it: no further call is measured. The object must stay until a
/// commit_probes(); it may be registered again before. Any thread, handlers too; never waits for handlers.
void unregister_latency_fast(latency& l) noexcept;

/// Arms a latency that rests, or lets a registered one rest: no call that begins now is measured; those that
/// are inside still are. When all probes of a place rest, the program's own bytes stand there.
/// errc::not_registered; errc::text_not_writable, and nothing has changed. Any thread, handlers too (it
/// allocates); blocks on other control calls, never on a handler.
std::error_code enable_latency(latency& l) noexcept;
std::error_code disable_latency(latency& l) noexcept;

/// What was measured so far; nothing when it is not registered. Any thread, not from a handler: blocks on
/// other control calls.
latency_buckets latencies_of(const latency& l) noexcept;
/// Of the time-stamp counter, in hertz; measured by the first call, which sleeps for 20 ms. Any thread, not
/// from a handler.
double ticks_per_second() noexcept;

/// How many calls were followed (those that end by an exception or longjmp, too, which are in no bucket), and
/// how many were not (none of `maxactive` was free, or the thread was in a handler). Reset by registration,
/// readable afterwards; hits() never falls while it is registered. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const latency& l) noexcept { return detail::hits(l.state_); }
inline std::uint64_t nmissed(const latency& l) noexcept { return detail::nmissed(l.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const latency& l) noexcept { return detail::address_of(l.state_); }

namespace detail {
any_probe of_any_kind(latency& l) noexcept;
}

}  // namespace libprobe
