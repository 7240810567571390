// The probe (the Linux kernel's kprobe): handlers before and after any one instruction.
#pragma once

#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

/// A probe at one instruction. After the kernel's struct kprobe (Documentation/trace/kprobes.rst).
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// Handlers, location and flags are read when it is registered. A probe that is still registered, or queued,
/// when it is destroyed is unregistered and committed by its destructor; inside a handler that aborts.
///
/// Handlers run in the thread that hit the probe, on its stack, in signal context: reached by a jump or in a
/// handler for SIGTRAP, in the middle of whatever the thread was doing. Async-signal-safe calls only, unless
/// the probed place is known to hold no lock. errno is put back. They may read and change every register.
/// While one runs, further hits of the same thread run no handler: they count in nmissed(). A handler that
/// throws ends the program, with a message; one that is left by longjmp or siglongjmp is over, see
/// docs/robustness.md.
///
/// When its module is unloaded a probe is gone: no handler runs any more, hits() and address_of() stay, and
/// it may be unregistered, destroyed, or registered anew (as it is: what it was is freed by a later commit).
struct probe {
  location at;  ///< any instruction's first byte
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
  void* context = nullptr;       ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};  ///< libprobe's own
};

/// Places and arms the probe. On failure nothing has changed; last_error_detail() may say more.
/// errc::no_handler without any handler; else why the place is refused, see errc. Any thread, handlers too
/// (it allocates: the rule for handlers decides). Blocks on other control calls, never on a grace period.
std::error_code register_probe(probe& p) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_probe().
std::error_code register_probes(std::span<probe* const> probes) noexcept;

/// unregister_probe_fast() and commit_probes(): when it returns no handler of it runs, and the object may be
/// freed or registered anew. Nothing happens for one that is not registered. Any thread; blocks for one grace
/// period, as long as the longest handler that is running. From inside a handler or a replacement it cannot
/// wait: the probe is only queued, left to a later commit.
void unregister_probe(probe& p) noexcept;
/// One grace period for all of them. Otherwise like unregister_probe().
void unregister_probes(std::span<probe* const> probes) noexcept;
/// Disarms the probe and queues it: from now on no handler of it is started, one that runs already may go on.
/// The object must stay until a commit_probes(); it may be registered again before. Any thread, handlers too;
/// never waits for handlers.
void unregister_probe_fast(probe& p) noexcept;

/// Arms a probe that rests, or lets a registered one rest: no handler of it is started, hits count nowhere.
/// When all probes of a place rest, the program's own bytes stand there. A handler that runs already goes on.
/// errc::not_registered; errc::text_not_writable, and nothing has changed. Any thread, handlers too (it
/// allocates); blocks on other control calls, never on a handler.
std::error_code enable_probe(probe& p) noexcept;
std::error_code disable_probe(probe& p) noexcept;

/// How often the handlers ran, and how often a hit ran none (because the thread was in a handler, in
/// libprobe, or because an earlier probe at the address took the hit over). Reset by registration, readable
/// afterwards. Exact at any time: hits() never falls while the probe is registered, is never more than the
/// calls made, and equals them when the callers have ended. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const probe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const probe& p) noexcept { return detail::nmissed(p.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const probe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(probe& p) noexcept;
}

}  // namespace libprobe
