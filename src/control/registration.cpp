#include "control/registration.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <utility>
#include <vector>

#include "control/shortcuts.hpp"
#include "control/traced.hpp"
#include "os/tracer.hpp"

namespace libprobe::control {

errc registration::place(std::span<request> requests, std::string& detail, need which) {
  placement planned;
  errc why = errc::ok;
  try {
    why = prepare(requests, planned, detail, which);
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why != errc::ok) {
    planner_.drop();
    return why;
  }
  publish(requests, planned.fresh);
  try {
    why = arm(requests, detail);
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why == errc::ok) {
    for (const auto& r : requests) r.give_ledger_before();
    return why;
  }
  // They were in the table, and at a place that was armed already their handlers may be running.
  for (auto& r : requests) {
    if (r.waits) continue;  // its owner is not here to be told: see pending_probes::place()
    r.show_as_before();
    removed_.queue(*r.what);
    r.what = nullptr;
  }
  return why;
}

/// All that can fail but the text of the requests' own sites.
errc registration::prepare(std::span<request> requests, placement& planned, std::string& detail, need which) {
  const auto planned_in = modules_.modules();
  auto why = planner_.lay_out(requests, *planned_in, planned, detail);
  if (why != errc::ok) return why;
  reserve(requests.size(), planned);
  if (std::uintptr_t trap = 0;
      which == need::jumps && !site_planner::all_are_jumps(requests, planned, trap)) {
    detail = fmt::format("{}, and {:#x} can only be a breakpoint", why_blocked(), trap);
    return errc::trap_blocked;
  }
  why = planner_.write_code();
  if (why == errc::ok) why = make_way(planned, detail);
  if (why == errc::ok && modules_.lead_elsewhere(requests, *planned_in)) {
    detail = "its module has been unloaded just now";
    why = errc::not_executable;
  }
  return why;
}

/// Nothing after this may run out of memory.
void registration::reserve(std::size_t requests, const placement& planned) {
  text_.reserve(planned.yielding.size());
  removed_.reserve(requests);
  site::sites.reserve(planned.fresh.size());
}

/// Jumps whose bytes others need become breakpoints first.
errc registration::make_way(const placement& planned, std::string& detail) {
  std::vector<site::site*> armed;
  // Under a debugger not one that is planned anew: it is exchanged for the new jump.
  const auto is_exchanged = [&planned](const site::site* at) {
    if (at->now != site::text::jump || !os::is_traced()) return false;
    const auto* const fresh = planned.fresh_at(at->address);
    return fresh != nullptr && fresh->jump != nullptr;
  };
  std::copy_if(planned.yielding.begin(), planned.yielding.end(), std::back_inserter(armed),
               [&](const site::site* at) { return at->now > site::text::breakpoint && !is_exchanged(at); });
  const auto why = text_.put(armed, site::text::breakpoint);
  if (why != errc::ok) {
    detail = site_text::refusal(why);
    return why;
  }
  for (auto* at : planned.yielding) {
    if (!at->gone) text_.yield(*at);
  }
  return errc::ok;
}

void registration::publish(std::span<request> requests,
                           std::span<std::unique_ptr<site::site>> fresh) noexcept {
  for (auto& made : fresh) publish(std::move(made));
  for (auto& r : requests) link(r);
}

void registration::publish(std::unique_ptr<site::site> fresh) noexcept {
  site::site* const old = site::sites.find(fresh->address);
  if (old != nullptr) {
    // The same place, planned anew. Readers of either see the same list; the old one goes with the next grace
    // period.
    fresh->first.store(old->first.load(std::memory_order_relaxed), std::memory_order_relaxed);
    fresh->last = old->last;
    fresh->now = old->now.load();
    if (fresh->now == site::text::jump) fresh->jump->replace(*old->jump);
    if (fresh->through == nullptr)
      fresh->through = old->through;  // who is on the way through it finds the new one
    text_.forget(*old);
    for (auto* a = fresh->first.load(); a != nullptr; a = a->next.load()) a->where = fresh.get();
  }
  site::site* const now = fresh.release();
  site::sites.insert(now->address, now);
  if (old != nullptr) retired_.add(*old);
  if (now->through == nullptr) return;
  now->through->body.store(now->detour_body, std::memory_order_relaxed);
  arch::vector_use wanted;
  for (auto* a = now->first.load(); a != nullptr; a = a->next.load()) wanted.add(a->vectors);
  set_saved_vectors(*now, wanted);
  now->through->at.store(now, std::memory_order_release);  // pairs with libprobe_on_detour()
}

/// Its attachment is the last of its site's list.
void registration::link(request& r) noexcept {
  site::site* at = site::sites.find(r.address);
  auto& a = *r.what;
  a.where = at;
  a.was_at = r.address;
  a.handle = r.handle;
  if (at->keeps_more_than_vectors && a.return_vectors.is_vectors())
    a.return_vectors = arch::vector_use::whole();
  if (at->detour_for == site::purpose::count) a.count_in(at->through->column);
  if (at->through != nullptr) {  // before the hooks can be found
    auto wanted = arch::vector_use::of(at->through->vectors.load(std::memory_order_relaxed));
    wanted.add(a.vectors);
    set_saved_vectors(*at, wanted);
  }
  auto& next = at->last != nullptr ? at->last->next : at->first;
  removed_.replace_gone(r);
  if (a.book != nullptr) a.book->body.store(original_of(*at), std::memory_order_relaxed);
  r.show();                                   // before a handler can look
  next.store(&a, std::memory_order_release);  // pairs with the acquire loads of run_before() and its like
  at->last = &a;
  removed_.add_linked();
  set_body(*at);
  set_only(*at);
}

errc registration::arm(std::span<const request> requests, std::string& detail) {
  std::vector<site::site*> sites;
  sites.reserve(requests.size());
  for (const auto& r : requests) {
    site::site* at = r.what->where;
    if (!r.what->disabled && (sites.empty() || sites.back() != at)) sites.push_back(at);
  }
  const auto why = text_.put(sites, site::text::jump);
  if (why == errc::ok) return why;
  planner_.functions().forget();
  detail = site_text::refusal(why);
  return why;
}

errc registration::set_disabled(site::attachment& a, bool disabled) noexcept {
  site::site* const at = a.where;
  a.disabled = disabled;
  if (at == nullptr || at->gone) {
    a.resting.store(disabled, std::memory_order_release);
    return errc::ok;
  }
  const bool wanted = is_wanted(*at);
  errc answer = errc::ok;
  if (wanted != (at->now != site::text::original)) {
    try {
      answer =
          wanted ? text_.put({&at, 1}, site::text::jump) : text_.take_back({&at, 1}, site::text::original);
    } catch (const std::bad_alloc&) {
      answer = errc::out_of_memory;
    }
  }
  if (answer == errc::ok) {
    a.resting.store(disabled, std::memory_order_release);
    set_only(*at);
  } else {
    a.disabled = !disabled;  // refused: all stays as it was
  }
  return answer;
}

void registration::arm_alone(site::attachment& a) noexcept {
  site::site* const at = a.where;
  try {
    if (a.disabled || text_.put({&at, 1}, site::text::jump) == errc::ok) return;
  } catch (const std::bad_alloc&) {
  }
  a.disabled = true;
  a.resting.store(true, std::memory_order_release);
}

}  // namespace libprobe::control
