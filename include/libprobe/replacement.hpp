// A replacement: another function that runs in a function's place. What replace() in typed.hpp stands on.
#pragma once

#include <cstddef>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// Where a function's result comes back. A bit mask. (System V ABI, 3.2.3)
enum class result_registers : unsigned {
  none = 0,
  first_integer = 1,   ///< rax
  second_integer = 2,  ///< rdx
  first_vector = 4,    ///< xmm0, with its upper parts
  second_vector = 8,   ///< xmm1
  x87 = 16,            ///< st(0), st(1)
  all = 31,
};
constexpr result_registers operator|(result_registers a, result_registers b) noexcept {
  return static_cast<result_registers>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr result_registers operator&(result_registers a, result_registers b) noexcept {
  return static_cast<result_registers>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}

/// `entry`, a function of exactly the same signature, runs whenever `at` is called, in ordinary context. It
/// gets the arguments (copies of those on the stack) and its result goes to the caller. All registers but the
/// result's are as before when the caller goes on, so callers that were compiled knowing the original
/// (-fipa-ra) stay right. original() runs the replaced function; calls that the original makes to the
/// function by name come to the replacement again. Hits of other probes inside `entry` run their handlers as
/// usual; inside a handler (of a probe, say) the function itself runs, and the replacement counts a miss.
/// `entry` ends by returning, by an exception, or by libc's longjmp on the thread's own stack, from it or
/// from the original. Left in any other way it counts as running for ever, and a removal waits for it: see
/// docs/robustness.md.
/// What returns twice (setjmp, vfork and their like: errc::unfollowable_function) cannot be called from a
/// frame in between. probe_flags::never_calls_original says that `entry` does not: then it is accepted, and
/// original() is null. Owned by the caller, neither copied nor moved while registered.
struct replacement {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void* entry = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;  ///< the user's own; reached from `entry` by current_replacement()
  std::size_t stack_bytes =
      4096;  ///< how much of the argument area above the return address `entry` may read
  /// What of `entry`'s result registers goes to the caller. A caller that knew the original may keep
  /// something in those that the result does not use.
  result_registers result = result_registers::all;
  detail::probe_state state_{};
};

/// Runs the replaced function itself: call it through a pointer of its own type. Valid while registered, and
/// in `entry`.
void* original(const replacement& r) noexcept;
/// The replacement whose `entry` this thread has just begun: to be asked for first thing in `entry`.
replacement* current_replacement() noexcept;

/// As for probes, see probe.hpp. Removal waits until no thread is inside `entry`; from inside any `entry` it
/// only queues.
std::error_code register_replacement(replacement& r) noexcept;
std::error_code register_replacements(std::span<replacement* const> all) noexcept;
void unregister_replacement(replacement& r) noexcept;
void unregister_replacements(std::span<replacement* const> all) noexcept;
void unregister_replacement_fast(replacement& r) noexcept;
std::error_code enable_replacement(replacement& r) noexcept;
std::error_code disable_replacement(replacement& r) noexcept;

inline std::uint64_t hits(const replacement& r) noexcept { return detail::hits(r.state_); }
inline std::uint64_t nmissed(const replacement& r) noexcept { return detail::nmissed(r.state_); }
inline void* address_of(const replacement& r) noexcept { return detail::address_of(r.state_); }

namespace detail {
any_probe of_any_kind(replacement& r) noexcept;
}

}  // namespace libprobe
