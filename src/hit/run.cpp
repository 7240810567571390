#include "hit/run.hpp"

#include <errno.h>

namespace libprobe::hit {

namespace {

void count(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

in_handler::in_handler() noexcept {
  ++site::self.in_handler;
  std::atomic_signal_fence(
      std::memory_order_seq_cst);  // before the call below, which somebody may have probed
  errno_ = errno;
}

in_handler::~in_handler() {
  errno = errno_;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  --site::self.in_handler;
}

bool run_before(const site::site& at, site::hit& hit) noexcept {
  if (site::self.busy()) {
    at.for_each_active([](site::attachment& a) { count(*a.missed); });
    return false;
  }
  const in_handler guard;
  bool redirected = false;
  at.for_each_active([&](site::attachment& a) {
    if (redirected) return count(*a.missed);
    if (a.before == nullptr) return count(*a.hits);
    hit.regs.set_ip(at.address);
    // Counted first: who waits for a handler's effect finds the hit counted.
    count(*a.hits);
    const auto want = a.before(a, hit);
    redirected = want == site::step::redirected;
    if (want == site::step::missed) {
      a.hits->fetch_sub(1, std::memory_order_relaxed);
      count(*a.missed);
    }
  });
  if (!redirected) hit.regs.set_ip(at.address);
  return redirected;
}

namespace {

/// A branch has no copy that ends in a trap: with an `after` hook waiting it is emulated first.
void run_branch(const site::site& at, site::hit& hit) noexcept {
  const auto sp = hit.regs.sp();
  if (!arch::emulate(at.plan, at.address, hit.regs)) {
    hit.regs.set_ip(at.code->jump_part());  // faults there, as it should
    return;
  }
  run_after(at, hit.regs);
  if (hit.call == nullptr) return;
  const auto number = site::number_of(*hit.call);
  if (hit.regs.sp() > sp) {
    arch::return_to_slot(hit.regs, number);
  } else {
    arch::hijack_return(sp, number);
  }
}

}  // namespace

void run_call(const site::site& at, site::hit& hit, bool redirected) noexcept {
  auto& regs = hit.regs;
  if (redirected) {
    if (hit.replacement != nullptr) hit.replacement->running.fetch_sub(1, std::memory_order_release);
  } else if (hit.replacement != nullptr) {
    arch::divert_to_replacement(regs, reinterpret_cast<std::uintptr_t>(hit.replacement));
  } else if (const bool after = at.wants_after(); after && arch::is_branch(at.plan)) {
    return run_branch(at, hit);
  } else {
    regs.set_ip(after ? at.code->trap_part() : at.code->jump_part());
  }
  if (hit.call == nullptr) return;
  const auto number = site::number_of(*hit.call);
  if (regs.sp() == hit.call->sp) {
    arch::call_from_slot(regs, number);
  } else {
    arch::return_to_slot(regs, number);  // a handler overrode the return
  }
}

void run_after(const site::site& at, registers& regs) noexcept {
  if (site::self.busy()) return;
  const in_handler guard;
  at.for_each_active([&](site::attachment& a) {
    if (a.after != nullptr) a.after(a, regs);
  });
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
