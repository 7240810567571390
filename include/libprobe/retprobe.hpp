// The retprobe (the Linux kernel's kretprobe): handlers at a function's entry and at its return, with data
// per call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <libprobe/error.hpp>
#include <libprobe/location.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/registration.hpp>
#include <span>

namespace libprobe {

struct retprobe;
class retprobe_instance;

namespace detail {
/// What libprobe remembers of a followed call.
struct instance_state {
  retprobe* probe;
  void* return_address;
  retprobe_instance* next_in_call;
  void* pool;
  std::uint32_t number;
};
}  // namespace detail

/// One call of a probed function, from its entry to its return. Belongs to libprobe; valid inside handlers
/// only. Its members are signal-safe.
class alignas(std::max_align_t) retprobe_instance {
 public:
  [[nodiscard]] retprobe& probe() const noexcept { return *state_.probe; }
  /// `data_size` bytes for the user, aligned as by malloc, zero at entry; kept from entry_handler to handler.
  [[nodiscard]] void* data() noexcept { return this + 1; }
  template <class T>
  [[nodiscard]] T& data_as() noexcept {
    return *static_cast<T*>(data());
  }
  /// Where the function returns to, in its caller.
  [[nodiscard]] void* return_address() const noexcept { return state_.return_address; }

  detail::instance_state state_;  ///< libprobe's own
};

/// Handlers at entry and return of a function, with data for each call. After the kernel's struct kretprobe
/// (Documentation/trace/kprobes.rst, "Return Probes").
///
/// Owned by the caller, neither copied nor moved while registered; an aggregate for designated initialisers.
/// Its fields are read when it is registered. A retprobe that is still registered, or queued, when it is
/// destroyed is unregistered and committed by its destructor; inside a handler that aborts.
///
/// `entry_handler` runs in signal context, reached by a jump or in a handler for SIGTRAP: async-signal-safe
/// calls only, unless the function is known to be called without locks. It may read and change every
/// register. `handler` runs in the thread that made the call, on its stack just after the function returned,
/// in ordinary context; it may read and change the result. What it throws is the probed function's, as if
/// that had thrown it; an exception from `entry_handler` or `unwind_handler` ends the program, with a
/// message. All see errno as it is and leave it so. While one runs, further hits of the same thread run no
/// handler: they count in nmissed(). A call whose return address __builtin_return_address or a debugger shows
/// inside libprobe_return_slots is a followed one: unwinders go through it to the real caller.
///
/// When its module is unloaded a retprobe is gone: no handler runs any more, hits() and address_of() stay,
/// and it may be unregistered, destroyed, or registered anew.
struct retprobe {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void (*handler)(retprobe_instance&, registers&) = nullptr;
  int (*entry_handler)(retprobe_instance&, registers&) = nullptr;  ///< non-zero: leave this call alone
  std::size_t maxactive = 0;  ///< calls followed at once; 0: 64 for each CPU, 256 at least
  std::size_t data_size = 0;  ///< bytes per call, see retprobe_instance::data()
  /// The call ended without returning: by an exception, pthread_exit or cancellation (called while the stack
  /// is unwound), by libc's longjmp (called before the jump), or with its thread (called when that is
  /// noticed). In ordinary context. What else a program may do to leave a call cannot be told from a call
  /// that goes on: docs/functions.md.
  void (*unwind_handler)(retprobe_instance&) = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;       ///< the user's own; libprobe does not touch it
  detail::probe_state state_{};  ///< libprobe's own
};

/// Places and arms the retprobe. On failure nothing has changed; last_error_detail() may say more.
/// errc::no_handler without any handler; errc::unfollowable_function for setjmp, vfork and their like; else
/// why the place is refused, see errc. Any thread, handlers too (it allocates). Blocks on other control
/// calls, never on a grace period.
std::error_code register_retprobe(retprobe& p) noexcept;
/// All or nothing, in one patching pass: much cheaper than one by one. Otherwise like register_retprobe().
std::error_code register_retprobes(std::span<retprobe* const> probes) noexcept;

/// unregister_retprobe_fast() and commit_probes(): when it returns no handler of it runs, and the object may
/// be freed or registered anew. Calls that are inside the function return rightly, and without a handler;
/// nobody waits for them. Nothing happens for one that is not registered. Any thread; blocks for one grace
/// period, as long as the longest handler that is running. From inside a handler or a replacement it cannot
/// wait: the retprobe is only queued, left to a later commit.
void unregister_retprobe(retprobe& p) noexcept;
/// One grace period for all of them. Otherwise like unregister_retprobe().
void unregister_retprobes(std::span<retprobe* const> probes) noexcept;
/// Disarms the retprobe and queues it: from now on no handler of it is started, at entries and at returns;
/// one that runs already may go on. The object must stay until a commit_probes(); it may be registered again
/// before. Any thread, handlers too; never waits for handlers.
void unregister_retprobe_fast(retprobe& p) noexcept;

/// Arms a retprobe that rests, or lets a registered one rest: no call that begins now is followed; calls that
/// are followed already end with their handler. When all probes of a place rest, the program's own bytes
/// stand there. errc::not_registered; errc::text_not_writable, and nothing has changed. Any thread, handlers
/// too (it allocates); blocks on other control calls, never on a handler.
std::error_code enable_retprobe(retprobe& p) noexcept;
std::error_code disable_retprobe(retprobe& p) noexcept;

/// How many calls were followed (those that entry_handler left alone, too), and how many were not (none of
/// `maxactive` was free, or the thread was in a handler). Reset by registration, readable afterwards; hits()
/// never falls while it is registered. Any thread, signal-safe, never blocks.
inline std::uint64_t hits(const retprobe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const retprobe& p) noexcept { return detail::nmissed(p.state_); }
/// The instruction at which it was placed when it was last registered; null if never, or pending. Any thread,
/// signal-safe.
inline void* address_of(const retprobe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(retprobe& p) noexcept;
}

}  // namespace libprobe
