// Hits in ordinary context: a function's entry, a replaced function, and the return of a followed call.
#include "epoch/epoch.hpp"
#include "hit/calls.hpp"
#include "hit/ordinary_run.hpp"
#include "hit/run.hpp"
#include "site/instances.hpp"

using namespace libprobe;

void libprobe_on_entry(registers* regs, void* vectors) {
  const auto address = regs->ip();
  hit::learn(address, *regs);
  bool (*stand_in)(registers&) = nullptr;
  {
    const hit::open_run run{*regs};
    const site::site* at = site::sites.find(address);
    // Changed since the trap: whatever stands there now runs, and traps again if it must.
    if (at == nullptr || !at->wants_ordinary()) return;
    site::hit hit{*regs, vectors, arch::all_saved(), false, true};
    if (at->stand_in == nullptr || at->only_learns) {
      const bool redirected = hit::run_before(*at, hit);
      return hit::run_call(*at, hit, redirected);
    }
    if (hit::run_before_guard(*at, hit)) return;
    stand_in = at->stand_in;
  }
  if (stand_in(*regs)) return;
  const epoch::section section;
  if (const site::site* at = site::sites.find(address)) {
    site::hit hit{*regs, vectors, arch::all_saved(), false, true};
    hit::run_call(*at, hit, false);
  }
}

void libprobe_on_replacement(registers* regs, void* vectors) {
  auto& what = *reinterpret_cast<site::attachment*>(regs->ip());
  site::replacement_run run{&what, nullptr};
  hit::begin_run(run);
  what.replace(what, *regs, vectors);
  hit::end_run(run);
}

void libprobe_on_return(registers* regs, std::size_t number, void* /*vectors*/, std::uint32_t /*saved*/) {
  const hit::open_run run{*regs};
  const hit::in_handler guard;
  // The return address is back on the stack: nobody needs the slot any more.
  auto& returning = site::self.returning;
  hit::end_call(site::calls[number]);
  while (returning != nullptr) {
    auto& instance = *returning;
    auto& pool = site::pool_of(instance);
    // A handler that throws has been told of this one's end; the others are unwound.
    site::self.taken = &instance;
    returning = instance.state_.next_in_call;
    if (pool.returned != nullptr && !pool.removed.load(std::memory_order_acquire))
      pool.returned(instance, *regs);
    site::self.taken = nullptr;
    pool.give(instance);
  }
}
