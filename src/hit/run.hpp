// What runs when a probe is hit: the handlers, and the displaced instruction. Ways in, called by arch's
// assembly (libprobe_on_*): a trap (trap.cpp), a jump (detour.cpp), a function's entry or return in ordinary
// context (ordinary.cpp), a fault (fault.cpp), a signal that interrupts one of these (signal.cpp), an
// exception (unwind.cpp), a thread that is held while a jump is written (hold.cpp). And what guards call,
// which the api hands to control: longjmp (escape.hpp), vfork (guest.hpp), system calls (system_call.cpp).
// This header: the handlers, which all ways in have in common.
//
// The code of this folder allocates and throws nothing, and waits for one lock only, that of signal actions
// (site/actions.hpp), with signals blocked: unit.structure.hit_path holds the objects to it, but for
// unwind.cpp, which calls the unwinder. It calls os, arch, epoch and site; the hooks of attachments; the
// program's signal handlers; and, outside of sections, what stands in at guards: in the loader that is
// control, which locks.
// Floor: on site, epoch, os and arch; beside control, which it does not include; below api. Words: a
// *section* (epoch) is the time in which a hit may hold sites; *busy*, inside of a handler or of libprobe:
// further hits run no hooks, and count as missed; *ordinary context*, as a call from the program, on its
// stack: not in a signal handler of libprobe's; a *followed call*, one that will return to a return slot
// (arch/ret.hpp); *guest*, see guest.hpp; *shown*, the registers that the program's signal handlers shall see
// of a thread in our code.
#pragma once

#include "epoch/epoch.hpp"
#include "hit/guest.hpp"
#include "site/guest_runs.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

/// While it lives a handler is running: further hits of this thread run none. errno is the program's.
class in_handler {
 public:
  in_handler() noexcept {
    ++site::self.in_handler;
    std::atomic_signal_fence(std::memory_order_seq_cst);  // before a signal can look
    errno_ = site::own_errno();
  }
  ~in_handler() {
    site::own_errno() = errno_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    --site::self.in_handler;
  }
  in_handler(const in_handler&) = delete;
  in_handler& operator=(const in_handler&) = delete;

 private:
  int errno_;
};

/// The thread never came back from handlers (siglongjmp, or a guest's end): what their hits had begun is
/// given back.
void forget_left_behind() noexcept;

/// The section of a hit.
class open_hit : public epoch::section {
 public:
  [[gnu::always_inline]] explicit open_hit(const registers& regs) noexcept : section{regs.sp()} {
    if (renewed()) [[unlikely]]
      forget_left_behind();
  }
};

/// All `before` hooks, in order of registration, until one redirects. True: the program goes on at hit.regs,
/// without the displaced instruction. Inside a section.
bool run_before(const site::site& at, site::hit& hit) noexcept;

/// All `after` hooks; regs.ip() is where the program goes on. Inside a section.
void run_after(const site::site& at, registers& regs, arch::vector_use saved = arch::all_saved()) noexcept;

/// Where a guard's site only learns of the call, it does so here, before the hit. Outside of a section: it
/// may take long.
void learn(std::uintptr_t address, registers& regs);
/// A hit of a site with another guard, at regs.ip(): the probes there, and what stands in for the displaced
/// instruction, which may take long. True: the program goes on at regs; false: with the displaced
/// instruction. Outside of a section.
bool run_guard(registers& regs, arch::vector_use saved = arch::all_saved());
/// Its first part, the probes: what a hook has begun ends at once. True: one has redirected. Inside a
/// section.
bool run_before_guard(const site::site& at, site::hit& hit) noexcept;

/// `fault` hooks, until one says true: the program goes on at regs. Inside a section.
bool run_fault(const site::site& at, registers& regs, int signo) noexcept;

/// After run_before(), `redirected` its answer: the function at this site begins, in whatever way the hooks
/// asked for. Uses the site's code slot. Inside a section.
void run_call(const site::site& at, site::hit& hit, bool redirected) noexcept;

/// A replacement that was counted as begun is over, or will not begin: where `noted` leads to it stands again
/// what was there before. Its attachment may be gone then.
template <class T>
[[gnu::always_inline]] inline void end_replacement(site::attachment& a, T*& noted, T* before) noexcept {
  std::atomic_thread_fence(std::memory_order_release);  // pairs with is_running()
  const auto count = a.ended.own_place();
  libprobe_end_run(reinterpret_cast<void**>(&noted), before, count.shared ? 1 : 0, count.word);
}
/// What was chosen will not run.
[[gnu::always_inline]] inline void end_chosen(site::attachment& a) noexcept {
  end_replacement<site::attachment>(a, site::self.chosen, nullptr);
}
/// And what runs is written down, on the stack.
[[gnu::always_inline]] inline void begin_run(site::replacement_run& run) noexcept {
  const bool in_guest = site::self.may_have_guest && !settle_guest_between_hits();
  if (in_guest) site::note_guest_run(run);
  run.outer = site::self.replacement;
  libprobe_begin_run(reinterpret_cast<void**>(&site::self.chosen), nullptr,
                     reinterpret_cast<void**>(&site::self.replacement), &run);
}
[[gnu::always_inline]] inline void end_run(site::replacement_run& run) noexcept {
  if (site::self.may_have_guest && !settle_guest_between_hits()) site::forget_guest_run(run);
  end_replacement(*run.what, site::self.replacement, run.outer);
}

/// True if the hooks asked for more than the displaced instruction.
inline bool wants_call(const site::hit& hit) noexcept {
  return hit.call != nullptr || hit.replacement != nullptr;
}

/// True if the function begins a followed call, and was not led to by one.
inline bool begins_call(const site::hit& hit) noexcept { return hit.call != nullptr && !hit.joined; }

}  // namespace libprobe::hit
