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

/// One call of a probed function, from its entry to its return. Belongs to libprobe; valid inside handlers
/// only.
class alignas(std::max_align_t) retprobe_instance {
 public:
  [[nodiscard]] retprobe& probe() const noexcept { return *probe_; }
  /// `data_size` bytes for the user, aligned as by malloc, zero at entry; kept from entry_handler to handler.
  [[nodiscard]] void* data() noexcept { return this + 1; }
  template <class T>
  [[nodiscard]] T& data_as() noexcept {
    return *static_cast<T*>(data());
  }
  /// Where the function returns to, in its caller.
  [[nodiscard]] void* return_address() const noexcept { return return_address_; }

  // libprobe's own from here on.
  retprobe* probe_;
  void* return_address_;
  retprobe_instance* next_in_call_;
  void* pool_;
  std::uint32_t number_;
};

/// Handlers at entry and return of a function. Owned by the caller, neither copied nor moved while
/// registered; an aggregate for designated initialisers.
///
/// `entry_handler` runs like a probe's pre_handler (see probe.hpp). `handler` runs in the thread that made
/// the call, on its stack just after the function returned, in ordinary context; it may read and change the
/// result. What it throws is the probed function's, as with a jprobe; an exception from `entry_handler` or
/// `unwind_handler` ends the program, with a message. All see errno as it is and leave it so. A call whose
/// return address __builtin_return_address or a debugger shows inside libprobe_return_slots is such a call:
/// unwinders go through it to the real caller.
struct retprobe {
  location at;  ///< a function's first instruction, else errc::not_function_entry
  void (*handler)(retprobe_instance&, registers&) = nullptr;
  int (*entry_handler)(retprobe_instance&, registers&) = nullptr;  ///< non-zero: leave this call alone
  std::size_t maxactive =
      0;  ///< calls followed at once, further ones count in nmissed(); 0: 64 for each CPU, 256 at least
  std::size_t data_size = 0;  ///< bytes per call, see retprobe_instance::data()
  /// The call ended without returning: by an exception, pthread_exit or cancellation (called while the stack
  /// is unwound), by libc's longjmp (called before the jump), or with its thread (called when that is
  /// noticed). What else a program may do to leave a call cannot be told from a call that goes on:
  /// docs/functions.md.
  void (*unwind_handler)(retprobe_instance&) = nullptr;
  probe_flags flags = probe_flags::none;
  void* context = nullptr;
  detail::probe_state state_{};
};

/// As for probes, see probe.hpp. Removal does not wait for calls that are inside the function: they return
/// rightly, and without a handler.
std::error_code register_retprobe(retprobe& p) noexcept;
std::error_code register_retprobes(std::span<retprobe* const> probes) noexcept;
void unregister_retprobe(retprobe& p) noexcept;
void unregister_retprobes(std::span<retprobe* const> probes) noexcept;
void unregister_retprobe_fast(retprobe& p) noexcept;
std::error_code enable_retprobe(retprobe& p) noexcept;
std::error_code disable_retprobe(retprobe& p) noexcept;

/// Calls that were followed, and calls that were not (no free instance, or the thread was in a handler).
inline std::uint64_t hits(const retprobe& p) noexcept { return detail::hits(p.state_); }
inline std::uint64_t nmissed(const retprobe& p) noexcept { return detail::nmissed(p.state_); }
inline void* address_of(const retprobe& p) noexcept { return detail::address_of(p.state_); }

namespace detail {
any_probe of_any_kind(retprobe& p) noexcept;
}

}  // namespace libprobe
