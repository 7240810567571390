// SIGTRAP: a breakpoint of ours, the end of a copy, somebody else's, or one that was removed just now.
#include "epoch/epoch.hpp"
#include "hit/fault.hpp"
#include "hit/landing.hpp"
#include "hit/run.hpp"
#include "hit/shown.hpp"
#include "site/past_breakpoints.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

enum class outcome : std::uint8_t { resume, faulted, not_ours };

/// The handlers have run: now the displaced instruction.
outcome run_displaced(const site::site& at, registers& regs) noexcept {
  using method = arch::displaced::method;
  const bool want_after = at.wants_after() && !site::self.busy();
  switch (at.plan.how) {
    case method::emulate:
      if (!arch::emulate(at.plan, at.address, regs)) return outcome::faulted;
      if (want_after) run_after(at, regs);
      break;
    case method::copy:
      regs.set_ip(want_after ? at.code->trap_part() : at.code->jump_part());
      break;
    case method::step:
      regs.set_ip(at.code->trap_part());
      arch::set_single_step(regs, true);
      break;
  }
  return outcome::resume;
}

/// The copy in a slot has run to its end.
void finish_copy(const site::slot& code, registers& regs) noexcept {
  regs.set_ip(code.end_of_trap_part());
  show(regs);
  // The site is looked up anew: the probe may be gone by now, and then there is nothing to run.
  if (const site::site* at = site::sites.find(code.address)) run_after(*at, regs);
}

/// How a breakpoint is met: with handlers in ordinary context libprobe_on_entry() sees to the guard, too.
enum class way : std::uint8_t { plain, learning, guarded };
way way_at(std::uintptr_t address) noexcept {
  const epoch::section section;
  const site::site* at = site::sites.find(address);
  if (at == nullptr || at->stand_in == nullptr) return way::plain;
  if (at->wants_ordinary() && !site::self.busy()) return way::plain;
  return at->only_learns ? way::learning : way::guarded;
}

outcome on_guard(std::uintptr_t address, registers& regs) {
  regs.set_ip(address);
  if (run_guard(regs)) return outcome::resume;
  const epoch::section section;
  const site::site* at = site::sites.find(address);
  return at != nullptr ? run_displaced(*at, regs) : outcome::resume;
}

outcome on_breakpoint(std::uintptr_t address, registers& regs) noexcept {
  const open_hit section{regs};
  if (const site::site* at = site::sites.find(address)) {
    regs.set_ip(address);
    if (site::self.own_call == address) {
      site::self.own_call = 0;
      return run_displaced(*at, regs);
    }
    if (at->wants_ordinary() && !site::self.busy()) {
      arch::divert_to_entry(regs, address);
      return outcome::resume;
    }
    site::hit hit{regs};
    const bool redirected = run_before(*at, hit);
    if (wants_call(hit)) {
      run_call(*at, hit, redirected);
    } else if (!redirected) {
      return run_displaced(*at, regs);
    }
    return outcome::resume;
  }
  if (land(address, regs)) return outcome::resume;
  const site::slot* code = site::slot_at(address);
  if (code == nullptr || address != code->end_of_trap_part()) return outcome::not_ours;
  finish_copy(*code, regs);
  return outcome::resume;
}

outcome on_single_step(registers& regs) noexcept {
  const epoch::section section;
  const site::slot* code = site::slot_at(regs.ip());
  if (code == nullptr) {
    // A program that steps itself does not see how it comes to handlers.
    const bool on_the_way =
        arch::in_detour_code(regs.ip()) || site::hop_pages.find(site::hop_page_of(regs.ip())) != nullptr;
    return on_the_way ? outcome::resume : outcome::not_ours;
  }
  // Short of the end: a repeated string instruction traps once a round.
  if (regs.ip() == code->end_of_trap_part()) finish_copy(*code, regs);
  return outcome::resume;
}

bool breakpoint_stands(std::uintptr_t address) noexcept {
  std::uint64_t word = 0;
  const auto aligned = address & ~std::uintptr_t{sizeof word - 1};  // never across the end of a page
  if (!arch::guarded_load(aligned, word)) return false;
  return arch::is_breakpoint(
      std::span{reinterpret_cast<const std::uint8_t*>(&word), sizeof word}.subspan(address - aligned));
}

/// Lets unwinders see where in the program it was.
void tell(std::uintptr_t address, registers regs, siginfo_t& info, ucontext_t& context) noexcept {
  if (address != 0) {
    info.si_addr = reinterpret_cast<void*>(address);  // for arch::is_behind_breakpoint()
    std::atomic_signal_fence(std::memory_order_seq_cst);
    regs.set_ip(address);
    arch::set_ip(context, address);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  if (show(regs).back.ip != 0) store(regs, context);
  told(context);
}

/// An emulated instruction whose memory was not there: the program's fault, at the instruction's own address.
/// A handler that mends it and returns means "again": the instruction, but not the probe's handlers.
void fault_and_retry(std::uintptr_t address, registers& regs, ucontext_t& context) {
  for (;;) {
    const auto signo = site::self.fault_signal;
    siginfo_t info = site::self.fault_info;
    arch::set_fault(context, site::self.fault_words);
    regs.set_ip(address);
    const bool goes_on = deliver_fault(address, signo, info, context, regs);
    arch::load(regs, context);
    if (!goes_on) return;
    if (regs.ip() != address) return;
    const epoch::section section;
    const site::site* at = site::sites.find(address);
    if (at == nullptr || run_displaced(*at, regs) == outcome::resume) return;
  }
}

}  // namespace

}  // namespace libprobe::hit

int libprobe_on_trap(int signo, siginfo_t* info, void* frame) {
  using namespace libprobe;
  auto& context = *static_cast<ucontext_t*>(frame);
  // Before the table is looked at. Pairs with the writer's increments around each change of text.
  const site::text_watch text;
  registers regs;
  arch::load(regs, context);
  const auto address = arch::breakpoint_address(*info, context);
  hit::tell(address, regs, *info, context);

  auto outcome = hit::outcome::not_ours;
  if (address != 0) {
    const auto way = hit::way_at(address);
    if (way == hit::way::learning) hit::learn(address, regs);
    outcome = way == hit::way::guarded ? hit::on_guard(address, regs) : hit::on_breakpoint(address, regs);
  } else if (arch::is_single_step(*info)) {
    outcome = hit::on_single_step(regs);
  }
  if (outcome == hit::outcome::faulted) hit::fault_and_retry(address, regs, context);
  if (outcome == hit::outcome::not_ours) {
    // In this order: what stands there may have come after the tables were looked at.
    const bool stands = address == 0 || hit::breakpoint_stands(address);
    if (address == 0 || (stands && !text.changed())) {
      arch::store(regs, context);  // as it came
      if (address != 0) info->si_addr = nullptr;
      hit::pass_on(signo, *info, context, address);
      hit::untell(context, *info);
      return 0;
    }
    // It was ours until just now: the instruction itself stands there again. A debugger may have gone back
    // to it already.
    const bool is_there = !site::past.has(address) && site::past.has(regs.ip());
    if (!is_there) regs.set_ip(address);
  }
  hit::untell(context, *info);
  hit::store(regs, context);
  return arch::can_resume(context) ? 1 : 0;
}
