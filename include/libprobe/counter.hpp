// A built-in action: counts how often an instruction runs, and calls nobody.
#pragma once

#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A count at one instruction: hits() is how often it ran, in all threads, inside handlers too. Where it is
/// the only probe there and a jump fits, the jump leads to code that adds to a word of the thread's own:
/// about a nanosecond, no call, no cache line that two threads share. Otherwise it counts as a probe does.
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
struct counter {
  location at;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;  ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};
};

/// As for probes, see probe.hpp.
std::error_code register_counter(counter& c) noexcept;
std::error_code register_counters(std::span<counter* const> counters) noexcept;
void unregister_counter(counter& c) noexcept;
void unregister_counters(std::span<counter* const> counters) noexcept;
void unregister_counter_fast(counter& c) noexcept;
std::error_code enable_counter(counter& c) noexcept;
std::error_code disable_counter(counter& c) noexcept;

inline std::uint64_t hits(const counter& c) noexcept { return detail::hits(c.state_); }
inline std::uint64_t nmissed(const counter& c) noexcept { return detail::nmissed(c.state_); }
inline void* address_of(const counter& c) noexcept { return detail::address_of(c.state_); }

namespace detail {
any_probe of_any_kind(counter& c) noexcept;
}

}  // namespace libprobe
