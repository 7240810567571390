#include "hit/run.hpp"

#include <utility>

#include "epoch/epoch.hpp"
#include "hit/calls.hpp"

namespace libprobe::hit {

namespace {

void count(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

void forget_left_behind() noexcept {
  site::self.in_handler = 0;
  site::self.run = nullptr;
  site::self.jprobe = nullptr;
  const in_handler unwind_handlers_may_run;
  abandon_beginnings();
  collect_spare_calls();
}

bool run_before(const site::site& at, site::hit& hit) noexcept {
  if (site::self.busy()) {
    at.for_each_active([](site::attachment& a) {
      if (a.counts) return a.hits.add(1);
      count(*a.missed);
    });
    return false;
  }
  const in_handler guard;
  bool redirected = false;
  at.for_each_active([&](site::attachment& a) {
    if (!a.vectors.within(hit.saved)) return;  // registered while this hit was on its way
    if (redirected) return count(*a.missed);
    // Counted first: who waits for a handler's effect finds the hit counted.
    if (!a.counts_itself) a.hits.add(1);
    if (a.before == nullptr) return;
    hit.regs.set_ip(at.address);
    const auto want = a.before(a, hit);
    hit.first = false;
    redirected = want == site::step::redirected;
    if (want == site::step::missed) count(*a.missed);
  });
  if (!redirected) hit.regs.set_ip(at.address);
  return redirected;
}

namespace {

/// A branch has no copy that ends in a trap: with an `after` hook waiting it is emulated first.
void run_branch(const site::site& at, site::hit& hit) noexcept {
  const auto sp = hit.regs.sp();
  if (!arch::emulate(at.plan, at.address, hit.regs)) {
    if (begins_call(hit)) {
      site::self.beginning = nullptr;
      leave_own(*hit.call);
      abandon_call(*hit.call);
    }
    hit.regs.set_ip(at.body.load(std::memory_order_relaxed));  // faults there, as it should
    return;
  }
  run_after(at, hit.regs, hit.saved);
  if (!begins_call(hit)) return;
  const auto number = site::number_of(*hit.call);
  arch::follow_behind_branch(hit.regs, sp, number);
  site::self.beginning = nullptr;
}

}  // namespace

void run_call(const site::site& at, site::hit& hit, bool redirected) noexcept {
  auto& regs = hit.regs;
  std::uintptr_t body = 0;  // not in regs until the call is made: unwinders find the function there
  if (redirected) {
    if (hit.replacement != nullptr) {
      end_chosen(*hit.replacement);
    }
  } else if (hit.replacement != nullptr) {
    arch::divert_to_replacement(regs, reinterpret_cast<std::uintptr_t>(hit.replacement));
  } else if (const bool after = at.wants_after(); after && arch::is_branch(at.plan)) {
    return run_branch(at, hit);
  } else if (after && !hit.by_detour) {
    body = at.code->trap_part();
  } else {
    body = at.body.load(std::memory_order_acquire);
  }
  if (body == 0) body = regs.ip();
  if (!begins_call(hit)) return regs.set_ip(body);
  if (regs.sp() == hit.call->sp.load(std::memory_order_relaxed)) {
    arch::call_from_slot(regs, body, site::number_of(*hit.call));
  } else {
    regs.set_ip(body);
    arch::return_to_slot(regs, site::number_of(*hit.call));  // a handler overrode the return
  }
  site::self.beginning = nullptr;  // from here on the stack tells of it: see abandon_passed()
}

void run_after(const site::site& at, registers& regs, arch::vector_use saved) noexcept {
  if (site::self.busy()) return;
  const in_handler guard;
  at.for_each_active([&](site::attachment& a) {
    if (a.after != nullptr && a.vectors.within(saved)) a.after(a, regs);
  });
}

namespace {

/// Of the entries only those of the longjmp family have guards that do more than learn: such a call is left
/// as soon as it begins.
void end_of_guarded(site::hit& hit) noexcept {
  if (auto* const chosen = std::exchange(hit.replacement, nullptr)) end_chosen(*chosen);
  const bool begun = begins_call(hit);
  auto* const call = std::exchange(hit.call, nullptr);
  if (!begun) return;
  const in_handler unwind_handlers_may_run;
  site::self.beginning = nullptr;
  leave_own(*call);
  abandon_call(*call);
}

}  // namespace

void learn(std::uintptr_t address, registers& regs) {
  bool (*stand_in)(registers&) = nullptr;
  {
    const epoch::section section;
    const site::site* at = site::sites.find(address);
    if (at == nullptr || !at->only_learns) return;
    stand_in = at->stand_in;
  }
  regs.set_ip(address);
  stand_in(regs);
}

bool run_before_guard(const site::site& at, site::hit& hit) noexcept {
  const bool redirected = run_before(at, hit);
  end_of_guarded(hit);
  return redirected;
}

bool run_guard(registers& regs, arch::vector_use saved) {
  const auto address = regs.ip();
  bool (*stand_in)(registers&) = nullptr;
  {
    const open_hit section{regs};
    const site::site* at = site::sites.find(address);
    if (at == nullptr) return false;
    site::hit hit{regs, nullptr, saved};
    if (run_before_guard(*at, hit)) return true;
    stand_in = at->stand_in;
  }
  // What it does may lead to a handler of the program's that never comes back.
  if (!stand_in(regs)) return false;
  const epoch::section section;
  if (const site::site* at = site::sites.find(address)) run_after(*at, regs, saved);
  return true;
}

bool run_fault(const site::site& at, registers& regs, int signo) noexcept {
  if (site::self.busy()) return false;
  const in_handler guard;
  bool handled = false;
  at.for_each_active([&](site::attachment& a) {
    if (!handled && a.fault != nullptr) handled = a.fault(a, regs, signo);
  });
  return handled;
}

}  // namespace libprobe::hit
