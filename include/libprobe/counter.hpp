// A built-in action: counts how often an instruction runs, and calls nobody.
#pragma once

#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A count at one instruction: hits() is how often it ran, in all threads, inside handlers too. Where it is
/// the only probe there and a jump fits, the jump leads to code that adds to a word of the thread's own:
/// about a nanosecond, no call, no cache line that two threads share. Otherwise it costs what a probe with an
/// empty handler does. Like a hit count of the kernel's events (Documentation/trace/kprobetrace.rst, "Event
/// Profiling").
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// A counter that is still registered, or queued, when it is destroyed is unregistered and committed by its
/// destructor; inside a handler that aborts. When its module is unloaded it is gone: hits() and address_of()
/// stay, and it may be unregistered, destroyed, or registered anew.
struct counter {
  location at;  ///< any instruction's first byte
  probe_flags flags = probe_flags::none;
  void* context = nullptr;       ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};  ///< libprobe's own
};

/// Places and arms the counter. On failure nothing has changed; last_error_detail() may say more. Why the
/// place is refused: see errc. Any thread, handlers too (it allocates). Blocks on other control calls, never
/// on a grace period.
std::error_code register_counter(counter& c) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_counter().
std::error_code register_counters(std::span<counter* const> counters) noexcept;

/// unregister_counter_fast() and commit_probes(): when it returns the object may be freed or registered anew.
/// Nothing happens for one that is not registered. Any thread; blocks for one grace period, as long as the
/// longest handler that is running. From inside a handler or a replacement it cannot wait: the counter is
/// only queued, left to a later commit.
void unregister_counter(counter& c) noexcept;
/// One grace period for all of them. Otherwise like unregister_counter().
void unregister_counters(std::span<counter* const> counters) noexcept;
/// Queues the counter: hits() stays what it is now. The object must stay until a commit_probes(); it may be
/// registered again before. Any thread, handlers too; never waits for handlers.
void unregister_counter_fast(counter& c) noexcept;

/// Arms a counter that rests, or lets a registered one rest: it counts nothing. When all probes of a place
/// rest, the program's own bytes stand there. errc::not_registered; errc::text_not_writable, and nothing has
/// changed. Any thread, handlers too (it allocates); blocks on other control calls, never on a handler.
std::error_code enable_counter(counter& c) noexcept;
std::error_code disable_counter(counter& c) noexcept;

/// How often the instruction ran, and how often an earlier probe at the address took the hit over, so that it
/// did not run. Reset by registration, readable afterwards; hits() never falls while it is registered. Any
/// thread, signal-safe, never blocks.
inline std::uint64_t hits(const counter& c) noexcept { return detail::hits(c.state_); }
inline std::uint64_t nmissed(const counter& c) noexcept { return detail::nmissed(c.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const counter& c) noexcept { return detail::address_of(c.state_); }

namespace detail {
any_probe of_any_kind(counter& c) noexcept;
}

}  // namespace libprobe
