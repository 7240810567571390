// What the hit path knows of the calling thread.
#pragma once

#include <signal.h>

#include <cstdint>
#include <libprobe/retprobe.hpp>

#include "arch/call.hpp"
#include "arch/machine.hpp"
#include "arch/trap.hpp"
#include "epoch/epoch.hpp"
#include "site/calls.hpp"

namespace libprobe::site {

struct attachment;

/// Handlers that run in ordinary context. Such a run can end by an exception, so what it holds is written
/// down here, for the personality routine that cleans up (src/hit/unwind.cpp).
struct ordinary_run {
  epoch::token section;
  ordinary_run* outer = nullptr;
};

/// A jprobe's entry, while it runs.
struct outcall_run {
  attachment* what = nullptr;
  arch::outcall call;
  outcall_run* outer = nullptr;
};

/// A replacement's. Made by arch's code, too: see direct_call.
struct replacement_run {
  attachment* what = nullptr;
  replacement_run* outer = nullptr;
};

struct thread_state {
  std::uintptr_t follow;  // where a detour that follows is about to go; see followed_call::interrupted
  std::uint32_t spare_count;
  std::uint32_t next_claim;  // where to look for an instance that is free; see claims
  // Eight bytes, which direct calls look at as one: what makes them go the long way. See
  // prepare_direct_calls().
  alignas(std::uint64_t) std::uint32_t in_handler;  // depth: a user's handler is running
  std::uint16_t in_control;  // depth: libprobe itself is at work, maybe under its locks
  bool may_have_guest;       // or this may be a guest: see hit/guest.hpp

  bool trap_blocked;  // the program believes that this thread has SIGTRAP blocked
  bool trap_pending;  // and one came in meanwhile:
  siginfo_t trap_info;

  // Of the hit whose handlers are running, for whoever cleans up when one of them never returns:
  followed_call* beginning;      // its function has not been sent to its slot
  retprobe_instance* taken;      // belongs to no call yet
  retprobe_instance* returning;  // still to be given back
  attachment* chosen;            // to replace the function; counted as running, but not begun
  std::uintptr_t chosen_at;      // the program's stack pointer at that hit

  int fault_signal;  // of the last failed guarded load
  siginfo_t fault_info;
  arch::fault_words fault_words;

  followed_call* spare_calls;  // records that are this thread's, and free
  bool has_followed;           // it has begun a followed call
  std::uint32_t open_calls;    // that it has begun: at least so many as have not ended
  std::uintptr_t lent_follow;  // what `follow` was when a guest was expected: see hit/guest.hpp
  std::uintptr_t own_call;     // the probed instruction that libprobe itself is about to run; 0: none
  ordinary_run* run;
  outcall_run* jprobe;
  replacement_run* replacement;
  replacement_run* lent_replacement;   // what that was when a guest was expected,
  replacement_run* guest_replacement;  // and what guests have made of it; null: nothing

  /// A hit now runs no handler.
  [[nodiscard]] bool busy() const noexcept { return in_handler != 0 || in_control != 0; }
};

/// The function _Unwind_Resume, not its stub.
extern constinit std::uintptr_t resume_unwinding;

extern __thread thread_state self __attribute__((tls_model("initial-exec")));

/// The calling thread's errno, without a call into libc, which somebody may have probed.
extern constinit std::uintptr_t errno_offset;  // from the thread's base
inline int& own_errno() noexcept { return *reinterpret_cast<int*>(arch::thread_base() + errno_offset); }

/// While it lives, probes that this thread hits run no handler: so none can run into libprobe's own locks.
class quiet {
 public:
  quiet() noexcept { ++self.in_control; }
  ~quiet() { --self.in_control; }
  quiet(const quiet&) = delete;
  quiet& operator=(const quiet&) = delete;
};

}  // namespace libprobe::site
