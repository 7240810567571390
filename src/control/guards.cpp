#include "control/guards.hpp"

#include <sys/single_threaded.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "control/engine.hpp"
#include "control/escape_guards.hpp"
#include "control/loader_guard.hpp"
#include "control/signal_guards.hpp"
#include "control/traced.hpp"

namespace libprobe::control {

namespace {

/// Of guards that were not placed.
void release(std::span<const request> guards) noexcept {
  for (const auto& g : guards) {
    if (g.what != nullptr) g.what->release(*g.what);
  }
}

/// What is still missing of guards that were tried, made anew.
std::vector<request> not_placed(std::span<const request> tried) {
  std::vector<request> made;
  made.reserve(tried.size());
  for (const auto& g : tried) {
    const auto* const at = site::sites.find(g.address);
    if (at == nullptr || at->stand_in == nullptr) made.push_back(guard_at(g.address, g.stand_in));
  }
  return made;
}

/// A debugger and a sandbox keep others from changing threads' masks: as long as all probes are jumps, none
/// need be.
need which_will_do() noexcept { return traps_are_avoided() ? need::jumps : need::any; }

}  // namespace

errc guards::put(std::span<request> requests, const guard_hooks& hooks, std::string& detail) {
  // Only a check: guards may come to stand in the text that the requests are for, or in each other's way, so
  // what would be planned now would not hold when they stand.
  const auto why = planner_.check(requests, *modules_.modules(), detail);
  if (why != errc::ok) return why;
  const bool all_hear = unblock_trap();
  if (!all_hear && !traps_are_avoided()) {
    detail = why_blocked();
    return errc::trap_blocked;
  }
  if (!stand_) {
    if (const auto refused = put_signal_guards(hooks, detail); !stand_) return refused;
    watch_loader(which_will_do());
    place_each(escape_guards(hooks), which_will_do());
  }
  // From now on nobody can block it. Who has done so just before they were in place is let off again.
  complete_ = unblock_trap();
  if (complete_ || traps_are_avoided()) return errc::ok;
  detail = why_blocked();
  return errc::trap_blocked;
}

errc guards::put_signal_guards(const guard_hooks& hooks, std::string& detail) {
  auto all = signal_guards(hooks.answer_signal_call);
  if (traps_are_avoided()) {
    stand_ = place_each(std::move(all), need::jumps);
    return errc::ok;
  }
  // Until they stand a thread may block SIGTRAP at any moment, as it does when it makes another one; then it
  // must not meet a breakpoint on the way to a guard's jump. Those that can only be breakpoints come last.
  if (jumps_are_wanted() && __libc_single_threaded == 0) place_quietly(all);
  const auto why = all.empty() ? errc::ok : placing_.place(all, detail);
  stand_ = why == errc::ok;
  if (!stand_) release(all);
  return why;
}

/// Those that can be jumps are placed, without breakpoints on the way; the others are left.
void guards::place_quietly(std::vector<request>& all) {
  const quiet_writes no_breakpoints;
  const auto wanted = all;
  // Those first that have no inner boundary, where a thread that comes back from the kernel may be.
  auto wide = take_wide(all);
  place_each(std::move(all), need::jumps);
  unblock_trap();
  place_each(std::move(wide), need::jumps);
  unblock_trap();
  all = not_placed(wanted);
}

/// Those whose jumps would displace several instructions. What is planned here is not kept: a part of it is
/// to be placed first.
std::vector<request> guards::take_wide(std::vector<request>& from) {
  placement tried;
  std::string ignored;
  planner_.lay_out(from, *modules_.modules(), tried, ignored);
  const auto wide = std::stable_partition(from.begin(), from.end(), [&tried](const request& g) {
    const auto* const at = tried.fresh_at(g.address);
    return at == nullptr || at->jump == nullptr || at->jump->shape.members == 1;
  });
  std::vector<request> taken(wide, from.end());
  from.erase(wide, from.end());
  planner_.drop();
  return taken;
}

/// Each guard for itself: without one of them less is known, but all goes on.
void guards::watch_loader(need which) {
  modules_.set_told_of_unloading(place_each(unloading_guards(tell_), which));
  modules_.set_told_of_constructors(place_each(constructor_guards(tell_), which));
}

/// Those that can be. False: none.
bool guards::place_each(std::vector<request> all, need which) {
  if (all.empty()) return false;
  std::string ignored;
  if (placing_.place(all, ignored, which) == errc::ok) return true;
  if (all.size() == 1) {
    release(all);
    return false;
  }
  // Few are refused, as a rule: by halves. Those that were published for a moment wait for a commit.
  std::erase_if(all, [](const request& g) { return g.what == nullptr; });
  const auto half = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::vector<request> others(half, all.end());
  all.erase(half, all.end());
  const bool any = place_each(std::move(all), which);
  return place_each(std::move(others), which) || any;
}

}  // namespace libprobe::control
