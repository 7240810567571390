// What all kinds of probe have in common: their flags, the end of a removal, and libprobe's part of each
// object.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/error.hpp>

namespace libprobe {

/// How a probe is placed and run. A bit mask.
enum class probe_flags : unsigned {
  none = 0,
  /// Registered, but at rest until enable_*() is called.
  disabled = 1U << 0,
  /// Always a breakpoint, never a jump.
  no_jump = 1U << 1,
  /// A promise: the handlers touch no vector register, so none need be saved.
  general_regs_only = 1U << 2,
  /// The CPU's trap flag runs the displaced instruction, unless it is a branch. `probe` only.
  single_step = 1U << 3,
  /// A promise: all callers keep nothing in registers that the ABI lets a function clobber. `replacement`
  /// only.
  standard_abi = 1U << 4,
  /// A name whose module or symbol is not there yet is no error. The probe is placed by the thread that loads
  /// the module, before constructors run; until then address_of() is null. What cannot be placed then stays
  /// pending, and its row in list_probes() says why.
  pending = 1U << 5,
  /// A promise: `entry` never calls original(). `replacement` only; so it may stand for setjmp and vfork.
  never_calls_original = 1U << 6,
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

/// ONE grace period for every probe, of any kind, that any thread has queued by unregister_*_fast(); then all
/// of them are cleaned up. When it returns no handler of them runs, no replacement of them is being called,
/// and the objects may be freed or registered anew.
///
/// Any thread. Blocks until every handler that was running has returned. From inside a handler or a
/// replacement that would be for ever: it fails with errc::would_deadlock and leaves the queue to a later
/// commit. errc::text_not_writable if a breakpoint could not be taken back: that place stays a (harmless)
/// breakpoint without handlers, and the probes are free all the same.
std::error_code commit_probes() noexcept;

namespace detail {

/// What libprobe remembers inside a probe object, of whatever kind. Its destructor is the safety net of the
/// destructor rule: a probe that is still registered or still queued is unregistered and committed, so
/// freeing is never too early.
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

std::uint64_t hits(const probe_state& s) noexcept;
std::uint64_t nmissed(const probe_state& s) noexcept;
inline void* address_of(const probe_state& s) noexcept {
  return reinterpret_cast<void*>(s.address.load(std::memory_order_relaxed));
}

struct kind;  // the library's own: one for each kind of probe

/// A probe of any kind. Each kind's header has an of_any_kind() that makes one.
struct any_probe {
  void* object;
  probe_state* state;
  const kind* what;
};

}  // namespace detail

}  // namespace libprobe
