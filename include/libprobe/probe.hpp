// The probe (the Linux kernel's kprobe): handlers before and after any one instruction.
#pragma once

#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A probe at one instruction. Owned by the caller, neither copied nor moved while registered; an aggregate
/// for designated initialisers. Handlers and location are read when it is registered.
///
/// When its module is unloaded a probe is gone: no handler runs any more, hits() and address_of() stay, and
/// it may be unregistered, destroyed, or registered anew (as it is: what it was is freed by a later commit).
///
/// probe_flags::pending: a name whose module or symbol is not there yet is no error. The probe is placed by
/// the thread that loads the module, before constructors run; until then address_of() is null. What cannot be
/// placed then stays pending, and its row in list_probes() says why.
///
/// Handlers run in the thread that hit the probe, on its stack, reached by a jump or in a signal handler for
/// SIGTRAP: the same rules hold as for one (async-signal-safe calls only, unless the probed place is known to
/// hold no lock).
/// errno is preserved. They may read and change every register. While one runs, further hits of the same
/// thread run no handler: they count in nmissed(). A handler that throws ends the program, with a message;
/// one that is left by longjmp or siglongjmp is over, see docs/robustness.md.
struct probe {
  location at;
  /// Before the displaced instruction. Non-zero: "I have set the instruction pointer": the instruction, the
  /// pre_handlers of probes registered later at this address (they count a miss) and all post_handlers are
  /// skipped. Zero: the instruction runs as if at its own address, with the registers as the handler left
  /// them; the instruction pointer is not looked at.
  int (*pre_handler)(probe&, registers&) = nullptr;
  /// After the displaced instruction; may change any register, the instruction pointer too.
  void (*post_handler)(probe&, registers&) = nullptr;
  /// The displaced instruction raised SIGSEGV, SIGBUS, SIGFPE or SIGILL (`signo`), nothing of it has
  /// happened. True: handled, go on with the registers as they are now. False: the next handler, at last the
  /// program's own.
  bool (*fault_handler)(probe&, registers&, int signo) = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;  ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};
};

/// Places and arms the probe. On failure nothing has changed; last_error_detail() may say more.
/// Any thread, at any time, from handlers too; blocks on other control calls, never on a grace period.
std::error_code register_probe(probe& p) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one.
std::error_code register_probes(std::span<probe* const> probes) noexcept;

/// unregister_probe_fast() and commit_probes(): when it returns the object may be freed or registered anew.
/// From inside a handler it cannot wait: the probe is only queued, left to a later commit.
/// Nothing happens for a probe that is not registered. Blocks for one grace period.
void unregister_probe(probe& p) noexcept;
/// One grace period for all of them.
void unregister_probes(std::span<probe* const> probes) noexcept;
/// Disarms the probe and queues it: from now on no handler of it is started, one that runs already may go on.
/// The object must stay until a commit_probes(); it may be registered again before. Never waits for handlers.
void unregister_probe_fast(probe& p) noexcept;

/// Arms a disabled probe, or lets a registered one rest; when all probes of a place rest, its text is
/// restored. errc::not_registered for a probe that is not registered. Any thread, from handlers too.
std::error_code enable_probe(probe& p) noexcept;
std::error_code disable_probe(probe& p) noexcept;

/// How often the handlers ran, and how often a hit ran none (because the thread was in a handler, in
/// libprobe, or because an earlier probe at the address took the hit over). Reset by registration, readable
/// afterwards. Exact at any time: hits() never falls while the probe is registered, is never more than the
/// calls made, and equals them when the callers have ended. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const probe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const probe& p) noexcept { return detail::nmissed(p.state_); }
/// The instruction at which the probe was placed when it was last registered; null if never, or pending.
inline void* address_of(const probe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(probe& p) noexcept;
}

}  // namespace libprobe
