// The jprobe: an entry handler with the probed function's own signature, in ordinary context.
#pragma once

#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A handler at a function's entry that receives the function's own arguments. Owned by the caller, neither
/// copied nor moved while registered; an aggregate for designated initialisers.
///
/// `entry` points to a function with exactly the probed function's parameters (its result is ignored). It
/// runs as an ordinary function, on the caller's stack, not in a signal handler: it may allocate, lock, print
/// and throw. What it throws leaves the probed function's call as if the function had thrown it (so a caller
/// that was compiled knowing that it throws nothing ends in std::terminate). It gets
/// copies of the arguments: whatever it does to them, the function receives what the caller passed. Of
/// arguments on the stack, `stack_bytes` are copied. It ends by returning, or early by jprobe_return(); never
/// by longjmp.
struct jprobe {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void* entry = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;  ///< the user's own; reached from `entry` by current_jprobe()
  std::size_t stack_bytes =
      4096;  ///< how much of the argument area above the return address `entry` may read
  detail::probe_state state_{};
};

/// Ends the running jprobe handler at once, wherever it is in its own calls: destructors between are skipped,
/// as by longjmp. Only from inside a jprobe's entry.
[[noreturn]] void jprobe_return() noexcept;
/// The jprobe whose entry is running in this thread; null outside of one.
jprobe* current_jprobe() noexcept;

/// As for probes, see probe.hpp: all or nothing, one patching pass, one grace period.
std::error_code register_jprobe(jprobe& p) noexcept;
std::error_code register_jprobes(std::span<jprobe* const> probes) noexcept;
void unregister_jprobe(jprobe& p) noexcept;
void unregister_jprobes(std::span<jprobe* const> probes) noexcept;
void unregister_jprobe_fast(jprobe& p) noexcept;
std::error_code enable_jprobe(jprobe& p) noexcept;
std::error_code disable_jprobe(jprobe& p) noexcept;

inline std::uint64_t hits(const jprobe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const jprobe& p) noexcept { return detail::nmissed(p.state_); }
inline void* address_of(const jprobe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(jprobe& p) noexcept;
}

}  // namespace libprobe
