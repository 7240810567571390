// A replacement: another function that runs in a function's place. What replace() in typed.hpp stands on.
#pragma once

#include <cstddef>
#include <cstdint>
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

/// Another function in a function's place. Like a live patch (Documentation/livepatch/livepatch.rst), but the
/// old function stays there to be called.
///
/// `entry`, a function of exactly the same signature, runs whenever `at` is called, in ordinary context: it
/// may allocate, lock, print, block and throw. It gets the arguments (copies of those on the stack) and its
/// result goes to the caller. All registers but the result's are as before when the caller goes on, so
/// callers that were compiled knowing the original (-fipa-ra) stay right. original() runs the replaced
/// function; calls that the original makes to the function by name come to the replacement again. The first
/// of several replacements of a function that are enabled runs.
///
/// It is no handler: hits of other probes inside `entry` run their handlers as usual. Inside a handler (of a
/// probe, say) the function itself runs, and the replacement counts a miss.
/// `entry` ends by returning, by an exception, or by libc's longjmp on the thread's own stack, from it or
/// from the original. Left in any other way it counts as running for ever, and a removal waits for it: see
/// docs/robustness.md.
///
/// What returns twice (setjmp, vfork and their like: errc::unfollowable_function) cannot be called from a
/// frame in between. probe_flags::never_calls_original says that `entry` does not: then it is accepted, and
/// original() is null.
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// Its fields are read when it is registered. A replacement that is still registered, or queued, when it is
/// destroyed is unregistered and committed by its destructor; inside a handler or a replacement that aborts.
/// When its module is unloaded it is gone, and may be unregistered, destroyed, or registered anew.
struct replacement {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void* entry = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;         ///< the user's own; reached from `entry` by current_replacement()
  std::size_t stack_bytes = 4096;  ///< bytes of the argument area above the return address that are copied
  /// What of `entry`'s result registers goes to the caller. A caller that knew the original may keep
  /// something in those that the result does not use.
  result_registers result = result_registers::all;
  detail::probe_state state_{};  ///< libprobe's own
};

/// Runs the replaced function itself: call it through a pointer of its own type. Valid while registered,
/// enabled or not, and in `entry`; null when it is not registered. Any thread, signal-safe, never blocks.
void* original(const replacement& r) noexcept;
/// The replacement whose `entry` this thread has just begun: to be asked for first thing in `entry`.
/// Signal-safe.
replacement* current_replacement() noexcept;

/// Places and arms the replacement. On failure nothing has changed; last_error_detail() may say more.
/// errc::no_handler without `entry`; else why the place is refused, see errc. Any thread, handlers too (it
/// allocates). Blocks on other control calls, never on a grace period.
std::error_code register_replacement(replacement& r) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_replacement().
std::error_code register_replacements(std::span<replacement* const> all) noexcept;

/// unregister_replacement_fast() and commit_probes(): when it returns no thread is inside `entry`, and the
/// object may be freed or registered anew. Nothing happens for one that is not registered. Any thread; blocks
/// for one grace period, and until all calls of `entry` have ended. From inside a handler or any `entry` it
/// cannot wait: the replacement is only queued, left to a later commit.
void unregister_replacement(replacement& r) noexcept;
/// One grace period for all of them. Otherwise like unregister_replacement().
void unregister_replacements(std::span<replacement* const> all) noexcept;
/// Disarms the replacement and queues it: calls that begin now run the function itself, those that are inside
/// `entry` go on. The object must stay until a commit_probes(); it may be registered again before. Any
/// thread, handlers too; never waits.
void unregister_replacement_fast(replacement& r) noexcept;

/// Arms a replacement that rests, or lets a registered one rest. A call that begins after enabling has
/// returned runs `entry`, one that begins after disabling has returned runs the function (or the next enabled
/// replacement of it); one that is under way runs either of them, once. Calls that are inside `entry` when it
/// is disabled go on there: nobody waits for them, their result is the caller's, original() works. Calls of
/// the function while it rests count nowhere. When all probes of a place rest, the program's own bytes stand
/// there. errc::not_registered; errc::text_not_writable, and nothing has changed. Any thread, handlers and
/// `entry` too (it allocates); blocks on other control calls, never on calls of `entry`.
std::error_code enable_replacement(replacement& r) noexcept;
std::error_code disable_replacement(replacement& r) noexcept;

/// How often `entry` was called, and how often the function was called without (because the thread was in a
/// handler, in libprobe, or because an earlier probe or replacement took the call). Reset by registration,
/// readable afterwards; hits() never falls while it is registered. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const replacement& r) noexcept { return detail::hits(r.state_); }
inline std::uint64_t nmissed(const replacement& r) noexcept { return detail::nmissed(r.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const replacement& r) noexcept { return detail::address_of(r.state_); }

namespace detail {
any_probe of_any_kind(replacement& r) noexcept;
}

}  // namespace libprobe
