#include "control/registry.hpp"

#include <algorithm>
#include <new>

#include "control/counter_store.hpp"
#include "control/engine.hpp"
#include "control/presence.hpp"
#include "control/traced.hpp"
#include "epoch/backoff.hpp"
#include "epoch/epoch.hpp"
#include "epoch/stall.hpp"
#include "site/guest_runs.hpp"

namespace libprobe::control {

registry& registry::instance() noexcept {
  // Never destroyed: probes of static storage duration come here from their destructors.
  alignas(registry) static std::byte storage[sizeof(registry)];
  static auto* const one = new (storage) registry;
  return *one;
}

std::optional<errc> registry::attach(std::span<request> requests, std::span<waiting> later,
                                     const symbols::snapshot& known, const guard_hooks& hooks,
                                     std::string& detail) {
  const site::quiet no_handlers;
  errc why = errc::ok;
  bool queued = false;
  {
    const std::lock_guard guard{lock_};
    bool elsewhere = false;
    try {
      why = prepare(requests, later, known, hooks, detail, elsewhere);
    } catch (const std::bad_alloc&) {
      why = errc::out_of_memory;
    }
    if (elsewhere) return std::nullopt;
    if (why == errc::ok) why = placing_.place(requests, detail, which_will_do());
    if (why == errc::ok) {
      const auto traps = std::count_if(requests.begin(), requests.end(), [](const request& r) {
        return r.what->where.load()->now == site::text::breakpoint;
      });
      tell_of_breakpoints(static_cast<std::size_t>(traps), requests.size());
    }
    // Found in a module that came after `known`, and has gone since.
    const bool untouched =
        std::none_of(requests.begin(), requests.end(), [](const request& r) { return r.what == nullptr; });
    if (why == errc::not_executable && untouched && modules_.look() && modules_.any_left_since(known.counts))
      return std::nullopt;
    if (why == errc::ok) wait_for_modules(later);
    removed_.tidy();
    queued = why != errc::ok && removed_.any_queued();
  }
  stay_loaded();
  if (queued) commit();  // frees what was placed for a moment
  return why;
}

/// What must be there before any of them can be placed.
errc registry::prepare(std::span<request> requests, std::span<waiting> later, const symbols::snapshot& known,
                       const guard_hooks& hooks, std::string& detail, bool& elsewhere) {
  if (const auto why = prepare_engine(detail); why != errc::ok) return why;
  if (!modules_.look()) return errc::out_of_memory;
  elsewhere = modules_.lead_elsewhere(requests, known);
  if (elsewhere) return errc::ok;
  pending_.reserve(later.size());
  if (!guards_.are_complete()) {
    if (const auto why = guards_.put(requests, hooks, detail); why != errc::ok) return why;
  }
  if (later.empty() || modules_.told_of_constructors()) return errc::ok;
  detail = "this system's loader does not tell when it has loaded a module";
  return errc::module_not_found;
}

/// Cannot fail: there is room, and the guards stand.
void registry::wait_for_modules(std::span<waiting> later) noexcept {
  for (const auto& one : later) removed_.replace_gone(one.need);
  pending_.add(later);
}

void registry::detach(handles which) noexcept {
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  for (auto* handle : which) {
    auto* a = attachment_of(*handle);
    if (a == nullptr || a->removed) continue;
    if (a->where.load() == nullptr) {
      pending_.remove(*a);
    } else {
      removed_.queue(*a);
    }
  }
}

errc registry::commit(const handles* only) noexcept {
  const site::quiet no_handlers;
  settle();
  site::end_guest_runs();
  if (site::self.in_handler != 0 || site::self.replacement != nullptr) return errc::would_deadlock;
  errc answer = errc::ok;
  epoch::ticket covered = 0;
  {
    const std::lock_guard guard{lock_};
    modules_.look();
    covered = removed_.take_out(answer);
    if (covered == 0 && !removed_.any_in_use()) return answer;
  }
  if (covered != 0) epoch::wait(covered);
  epoch::stall_watch told;
  for (epoch::backoff patience;; patience.wait()) {
    const std::lock_guard guard{lock_};
    removed_.free_complete();
    if (removed_.is_over()) planner_.reclaim_idle_code();
    // A replacement may run for hours: that holds up who removes it, and no other commit.
    const auto* const running = removed_.free_in_use(only);
    if (running == nullptr) return answer;
    site::end_runs_of_gone_guests();
    if (patience.long_since()) told.look_at_calls(running->was_at);
  }
}

void registry::end_ledger(std::atomic<void*>& ledger) noexcept {
  if (ledger.load(std::memory_order_acquire) == nullptr) return;
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  auto* const mine = static_cast<site::ledger*>(ledger.exchange(nullptr, std::memory_order_acq_rel));
  if (mine != nullptr && mine->last.load(std::memory_order_relaxed) != site::ledger::open) give_ledger(mine);
}

errc registry::set_disabled(std::atomic<void*>& handle, bool disabled) noexcept {
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  auto* a = attachment_of(handle);
  if (a == nullptr || a->removed) return errc::not_registered;
  if (a->disabled == disabled) return errc::ok;
  modules_.look();
  return placing_.set_disabled(*a, disabled);
}

bool registry::is_registered(const std::atomic<void*>& handle) noexcept {
  if (handle.load(std::memory_order_acquire) == nullptr) return false;
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  const auto* a = attachment_of(handle);
  if (a == nullptr || a->removed) return false;
  const site::site* const at = a->where;
  return at == nullptr || !at->gone;
}

std::vector<entry> registry::list() {
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  modules_.look();
  std::vector<entry> entries;
  site::sites.for_each([&entries](const site::site& at) { add_entries(at, nullptr, entries); });
  for (const auto& one : modules_.gone()) add_entries(*one.at, one.with, entries);
  for (const auto& one : pending_.list()) add_entry(one, entries);
  std::stable_sort(entries.begin(), entries.end(),
                   [](const entry& a, const entry& b) { return a.address < b.address; });
  return entries;
}

void registry::modules_changed() noexcept {
  // libc has loaded something for libprobe itself: whatever went meanwhile is noticed by the next call.
  if (lock_.is_mine()) return;
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  // Those that have come are of no interest until somebody wants probes there.
  if (modules_.any_left_since(symbols::current_counts())) modules_.look();
}

void registry::place_waiting() noexcept {
  if (lock_.is_mine()) return;  // as in modules_changed()
  const site::quiet no_handlers;
  settle();
  try {
    std::vector<pending_probes::sought> names;
    {
      const std::lock_guard guard{lock_};
      names = pending_.all();
    }
    if (names.empty()) return;
    pending_probes::look_up(names, lookups_);
    const std::lock_guard guard{lock_};
    if (!modules_.look()) return;
    auto found = pending_.found(names);
    pending_.place(found, placing_, which_will_do());
  } catch (const std::bad_alloc&) {
    // They wait on, for the next module.
  }
}

}  // namespace libprobe::control
