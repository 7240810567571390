// The jprobe: an entry handler with the probed function's own signature, in ordinary context.
#pragma once

#include <cstddef>
#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A handler at a function's entry that receives the function's own arguments. After the kernel's struct
/// jprobe (Documentation/kprobes.txt, up to Linux 4.14).
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// Its fields are read when it is registered. A jprobe that is still registered, or queued, when it is
/// destroyed is unregistered and committed by its destructor; inside a handler that aborts.
///
/// `entry` points to a function with exactly the probed function's parameters (its result is ignored). It
/// runs in ordinary context, on the caller's stack: it may allocate, lock, print, block and throw. What it
/// throws leaves the probed function's call as if the function had thrown it (so a caller that was compiled
/// knowing that it throws nothing ends in std::terminate). It gets copies of the arguments: whatever it does
/// to them, the function receives what the caller passed. It ends by returning, or early by jprobe_return();
/// never by longjmp. errno is put back. It is a handler: what the thread hits meanwhile runs no handler and
/// counts in nmissed(), and a commit waits for it.
///
/// When its module is unloaded a jprobe is gone: `entry` runs no more, hits() and address_of() stay, and it
/// may be unregistered, destroyed, or registered anew.
struct jprobe {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void* entry = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;         ///< the user's own; reached from `entry` by current_jprobe()
  std::size_t stack_bytes = 4096;  ///< bytes of the argument area above the return address that are copied
  detail::probe_state state_{};    ///< libprobe's own
};

/// Ends the running `entry` at once, wherever it is in its own calls: destructors between are skipped, as by
/// longjmp. Only from inside a jprobe's entry.
[[noreturn]] void jprobe_return() noexcept;
/// The jprobe whose entry is running in this thread; null outside of one. Signal-safe.
jprobe* current_jprobe() noexcept;

/// Places and arms the jprobe. On failure nothing has changed; last_error_detail() may say more.
/// errc::no_handler without `entry`; else why the place is refused, see errc. Any thread, handlers too (it
/// allocates). Blocks on other control calls, never on a grace period.
std::error_code register_jprobe(jprobe& p) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_jprobe().
std::error_code register_jprobes(std::span<jprobe* const> probes) noexcept;

/// unregister_jprobe_fast() and commit_probes(): when it returns no thread is inside `entry`, and the object
/// may be freed or registered anew. Nothing happens for one that is not registered. Any thread; blocks for
/// one grace period, as long as the longest handler that is running. From inside a handler or a replacement
/// it cannot wait: the jprobe is only queued, left to a later commit.
void unregister_jprobe(jprobe& p) noexcept;
/// One grace period for all of them. Otherwise like unregister_jprobe().
void unregister_jprobes(std::span<jprobe* const> probes) noexcept;
/// Disarms the jprobe and queues it: from now on `entry` is not begun, where it runs already it may go on.
/// The object must stay until a commit_probes(); it may be registered again before. Any thread, handlers too;
/// never waits for handlers.
void unregister_jprobe_fast(jprobe& p) noexcept;

/// Arms a jprobe that rests, or lets a registered one rest: `entry` is not begun, calls count nowhere. When
/// all probes of a place rest, the program's own bytes stand there. Where `entry` runs already it goes on.
/// errc::not_registered; errc::text_not_writable, and nothing has changed. Any thread, handlers too (it
/// allocates); blocks on other control calls, never on a handler.
std::error_code enable_jprobe(jprobe& p) noexcept;
std::error_code disable_jprobe(jprobe& p) noexcept;

/// How often `entry` ran, and how often a call ran it not (because the thread was in a handler, in libprobe,
/// or because an earlier probe at the address took the hit over). Reset by registration, readable afterwards;
/// hits() never falls while it is registered. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const jprobe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const jprobe& p) noexcept { return detail::nmissed(p.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const jprobe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(jprobe& p) noexcept;
}

}  // namespace libprobe
