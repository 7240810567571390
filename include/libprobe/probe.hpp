// The probe (the Linux kernel's kprobe): handlers before and after any one instruction.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registers.hpp>
#include <span>

namespace libprobe {

/// How a probe is placed and run. A bit mask.
enum class probe_flags : unsigned {
  none = 0,
  disabled = 1U << 0,           ///< registered, but not armed until enable_*()
  no_jump = 1U << 1,            ///< always a breakpoint, never a jump
  general_regs_only = 1U << 2,  ///< the handlers touch no vector register, so none need be saved
  single_step = 1U << 3,        ///< run the displaced instruction by the CPU's trap flag, whatever it is
  standard_abi = 1U << 4,  ///< all callers keep nothing in registers that the ABI lets a function clobber
  pending = 1U << 5,  ///< of a name whose module or symbol is not loaded yet: placed when it is, see below
  never_calls_original = 1U << 6,  ///< of a replacement: so it may stand for setjmp, vfork and their like
};
constexpr probe_flags operator|(probe_flags a, probe_flags b) noexcept {
  return static_cast<probe_flags>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr probe_flags operator&(probe_flags a, probe_flags b) noexcept {
  return static_cast<probe_flags>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
constexpr probe_flags operator^(probe_flags a, probe_flags b) noexcept {
  return static_cast<probe_flags>(static_cast<unsigned>(a) ^ static_cast<unsigned>(b));
}
constexpr probe_flags operator~(probe_flags a) noexcept {
  return static_cast<probe_flags>(~static_cast<unsigned>(a));
}
constexpr probe_flags& operator|=(probe_flags& a, probe_flags b) noexcept { return a = a | b; }
constexpr probe_flags& operator&=(probe_flags& a, probe_flags b) noexcept { return a = a & b; }
constexpr probe_flags& operator^=(probe_flags& a, probe_flags b) noexcept { return a = a ^ b; }
constexpr bool any(probe_flags a) noexcept { return a != probe_flags::none; }

struct probe;

namespace detail {

/// What libprobe remembers inside a probe object. Its destructor is the safety net of the destructor rule: a
/// probe that is still registered or still queued is unregistered and committed, so freeing is never too
/// early.
class probe_state {
 public:
  probe_state() = default;
  ~probe_state() {
    if (attachment.load(std::memory_order_acquire) != nullptr ||
        ledger.load(std::memory_order_acquire) != nullptr)
      release(*this);
  }
  probe_state(const probe_state&) = delete;
  probe_state& operator=(const probe_state&) = delete;

  std::atomic<void*> attachment{nullptr};  // null: neither registered nor queued
  std::atomic<std::uintptr_t> address{0};
  std::atomic<void*> ledger{nullptr};  // of its latest registration; null: never registered

 private:
  static void release(probe_state& state) noexcept;
};

}  // namespace detail

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

namespace detail {
std::uint64_t hits(const probe_state& s) noexcept;
std::uint64_t nmissed(const probe_state& s) noexcept;
inline void* address_of(const probe_state& s) noexcept {
  return reinterpret_cast<void*>(s.address.load(std::memory_order_relaxed));
}
}  // namespace detail

/// How often the handlers ran, and how often a hit ran none (because the thread was in a handler, in
/// libprobe, or because an earlier probe at the address took the hit over). Reset by registration, readable
/// afterwards. Exact at any time: hits() never falls while the probe is registered, is never more than the
/// calls made, and equals them when the callers have ended. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const probe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const probe& p) noexcept { return detail::nmissed(p.state_); }
/// The instruction at which the probe was placed when it was last registered; null if never, or pending.
inline void* address_of(const probe& p) noexcept { return detail::address_of(p.state_); }

}  // namespace libprobe
