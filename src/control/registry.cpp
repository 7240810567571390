// Removal in batches: rest and queue; then unlink all, wait once, free all.
#include "control/registry.hpp"

#include <algorithm>
#include <new>
#include <unordered_set>

#include "control/counter_store.hpp"
#include "control/text_pass.hpp"
#include "epoch/backoff.hpp"
#include "epoch/epoch.hpp"
#include "epoch/stall.hpp"
#include "site/actions.hpp"
#include "site/guest_runs.hpp"
#include "site/thread.hpp"

namespace libprobe::control {

namespace {

bool wants_breakpoint(const site::site& at) noexcept {
  for (auto* a = at.first.load(); a != nullptr; a = a->next.load()) {
    if (!a->removed && !a->disabled) return true;
  }
  return false;
}

/// Takes all removed attachments out of the site's list. A reader that stands on one still finds its way on.
void unlink_removed(site::site& at) noexcept {
  at.last = nullptr;
  auto* link = &at.first;
  while (auto* a = link->load(std::memory_order_relaxed)) {
    if (a->removed) {
      link->store(a->next.load(std::memory_order_relaxed), std::memory_order_release);
    } else {
      at.last = a;
      link = &a->next;
    }
  }
}

site::attachment* get(const std::atomic<void*>& handle) noexcept {
  return static_cast<site::attachment*>(handle.load(std::memory_order_acquire));
}

}  // namespace

void registry::set_only(site::site& at) noexcept {
  auto* const first = at.first.load(std::memory_order_relaxed);
  const bool alone = first != nullptr && first == at.last;
  at.only.store(alone && first->pre_handler != nullptr ? first : nullptr, std::memory_order_release);
  at.follower.store(alone ? first->pool : nullptr, std::memory_order_release);
  if (at.through == nullptr) return;
  const bool direct = at.detour_for == site::purpose::replace && epoch::barriers_are_asymmetric() && alone &&
                      !first->resting.load(std::memory_order_relaxed);
  at.through->direct.store(direct ? first->direct : nullptr, std::memory_order_release);
}

registry& registry::instance() noexcept {
  // Never destroyed: probes of static storage duration come here from their destructors.
  alignas(registry) static std::byte storage[sizeof(registry)];
  static auto* const one = new (storage) registry;
  return *one;
}

void registry::queue(site::attachment& a) noexcept {
  a.removed = true;
  a.resting.store(true, std::memory_order_relaxed);
  if (a.counts && a.book != nullptr) a.book->shown.store(a.book->hits(), std::memory_order_relaxed);
  set_only(*a.where);
  queue_.push_back(&a);  // room was reserved at registration
}

void registry::detach(handles which) noexcept {
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  for (auto* handle : which) {
    auto* a = get(*handle);
    if (a == nullptr || a->removed) continue;
    if (a->where.load() == nullptr) {
      stop_waiting(*a);
    } else {
      queue(*a);
    }
  }
}

errc registry::take_out_queued() noexcept {
  // A gone site and the one that has taken its place have one address.
  const auto by_place = [](const site::attachment* a, const site::attachment* b) {
    const auto *one = a->where.load(), *other = b->where.load();
    return one->address != other->address ? one->address < other->address : std::less<>{}(one, other);
  };
  if (!std::is_sorted(queue_.begin(), queue_.end(), by_place))  // as lists of functions mostly are
    std::sort(queue_.begin(), queue_.end(), by_place);
  touched_.clear();
  for (const auto* a : queue_) {
    if (touched_.empty() || touched_.back() != a->where) touched_.push_back(a->where);
  }
  for (auto* at : touched_) {
    unlink_removed(*at);
    set_only(*at);
  }
  for (auto* a : queue_) {
    a->where.store(nullptr, std::memory_order_release);
    --attached_;
    retire(*a);
  }
  queue_.clear();

  const auto idle = std::stable_partition(
      touched_.begin(), touched_.end(), [](const site::site* at) { return at->now == site::text::original; });
  const auto still_wanted =
      std::stable_partition(idle, touched_.end(), [](const site::site* at) { return wants_breakpoint(*at); });
  const auto answer = restore({still_wanted, touched_.end()}, site::text::original);

  for (auto* at : touched_) {
    // A breakpoint that could not be taken back keeps its site, so that it stays harmless.
    if (at->now != site::text::original || at->first.load(std::memory_order_relaxed) != nullptr) continue;
    if (at->gone) {
      // None there: it went just now, with nothing registered any more, and is retired.
      if (std::erase_if(gone_, [at](const departed& one) { return one.at == at; }) == 0) continue;
    } else {
      site::sites.erase(at->address);
      if (at->through != nullptr) at->through->at.store(nullptr, std::memory_order_release);
      if (at->yields) std::erase(yielding_, at);
    }
    retired_.add(*at);
  }
  return_to_jumps();
  return answer;
}

/// Those that gave way have their jumps back, if all who needed it are gone.
void registry::return_to_jumps() noexcept {
  auto all = std::move(yielding_);  // modules may go meanwhile: then these are gone
  std::erase_if(all, [this](site::site* at) {
    if (at->gone) return true;
    for (std::size_t i = 1; i < at->jump->shape.window; ++i) {
      if (site::sites.find(at->address + i) != nullptr) return false;
    }
    at->yields = false;
    set_body(*at);
    // Refused: it stays a breakpoint, which is as good.
    if (at->now != site::text::original) restore({&at, 1}, site::text::jump);
    return true;
  });
  std::erase_if(all, [](const site::site* at) { return at->gone; });
  yielding_ = std::move(all);
}

/// Unlinked: waits until no hit can hold it any more.
void registry::retire(site::attachment& a) noexcept {
  a.free = free_attachment;
  retired_.add(a);
}
void registry::free_attachment(epoch::retired& what) noexcept {
  auto& a = static_cast<site::attachment&>(what);
  if (a.release(a)) return;
  a.next_retired = std::exchange(instance().in_use_, &a);
}

/// Tries again. One that those asked for wait for: calls of a replacement are still running; null: none.
const site::attachment* registry::free_in_use(const handles* only) noexcept {
  const site::attachment* running = nullptr;
  for (auto** link = &in_use_; *link != nullptr;) {
    auto& a = static_cast<site::attachment&>(**link);
    auto* const next = a.next_retired;
    if (a.release(a)) {
      *link = next;
      continue;
    }
    const bool asked = only == nullptr || std::find(only->begin(), only->end(), a.handle) != only->end();
    if (asked && a.is_running()) running = &a;
    link = &a.next_retired;
  }
  return running;
}

/// Only when no more than the table's own sites can lead into a slot.
void registry::reclaim_code() noexcept {
  if (!slots_.past_bound(site::sites.size()) || !retired_.empty() || in_use_ != nullptr) return;
  try {
    std::unordered_set<const site::slot*> in_use;
    site::sites.for_each([&in_use](const site::site& at) { in_use.insert(at.code); });
    slots_.reclaim_idle(in_use);
  } catch (const std::bad_alloc&) {
    // They stay, as they would if one of them were still in use.
  }
}

/// Takes all that is queued out of what hits may find. The ticket that covers it, and all that was taken out
/// before; 0: there is nothing to wait for.
epoch::ticket registry::retire_queued(errc& answer) noexcept {
  answer = take_out_queued();
  site::sites.retire_outgrown(retired_);
  site::chunks.retire_outgrown(retired_);
  site::landings.retire_outgrown(retired_);
  site::hop_pages.retire_outgrown(retired_);
  return retired_.empty() ? 0 : retired_.seal();
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
    look_at_modules();
    covered = retire_queued(answer);
    if (covered == 0 && in_use_ == nullptr) return answer;
  }
  if (covered != 0) epoch::wait(covered);
  epoch::stall_watch told;
  for (epoch::backoff patience;; patience.wait()) {
    const std::lock_guard guard{lock_};
    retired_.free_complete();
    reclaim_code();
    // A replacement may run for hours: that holds up who removes it, and no other commit.
    const auto* const running = free_in_use(only);
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
  auto* a = get(handle);
  if (a == nullptr || a->removed) return errc::not_registered;
  if (a->disabled == disabled) return errc::ok;
  look_at_modules();
  site::site* const at = a->where;
  a->disabled = disabled;
  if (at == nullptr || at->gone) {
    a->resting.store(disabled, std::memory_order_release);
    return errc::ok;
  }
  const bool wanted = wants_breakpoint(*at);
  errc answer = errc::ok;
  if (wanted != (at->now != site::text::original)) {
    std::vector<site::site*> one;
    try {
      one.push_back(at);
      answer = wanted ? write(one, site::text::jump) : restore(one, site::text::original);
    } catch (const std::bad_alloc&) {
      answer = errc::out_of_memory;
    }
  }
  if (answer == errc::ok) {
    a->resting.store(disabled, std::memory_order_release);
    set_only(*at);
  } else {
    a->disabled = !disabled;  // refused: all stays as it was
  }
  return answer;
}

bool registry::is_registered(const std::atomic<void*>& handle) noexcept {
  if (handle.load(std::memory_order_acquire) == nullptr) return false;
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  const auto* a = get(handle);
  if (a == nullptr || a->removed) return false;
  const site::site* const at = a->where;
  return at == nullptr || !at->gone;
}

std::vector<entry> registry::list() {
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  look_at_modules();
  std::vector<entry> entries;
  const auto add = [&entries](const site::site& at, const std::shared_ptr<const symbols::module>& gone_with) {
    for (const auto* a = at.first.load(); a != nullptr; a = a->next.load()) {
      if (a->removed || a->owner == nullptr) continue;  // a guard is nobody's
      entries.push_back(
          {at.address,
           a->kind,
           a->disabled,
           at.plan.how,
           at.now == site::text::jump,
           at.jump != nullptr && !at.yields && !at.retreated ? at.jump->shape.how : arch::tactic::breakpoint,
           at.yields      ? "another probe needs the text of its jump"
           : at.retreated ? "too many branches led into the jump"
                          : at.why_trap,
           a->book->hits(),
           a->missed->load(std::memory_order_relaxed),
           gone_with,
           {},
           {}});
    }
  };
  site::sites.for_each([&add](const site::site& at) { add(at, nullptr); });
  for (const auto& one : gone_) add(*one.at, one.with);
  for (const auto& one : waiting_) {
    entry row{};
    row.kind = one.need.what->kind;
    row.disabled = one.need.what->disabled;
    row.waits_for = one.name;
    row.why_not_placed = one.why;
    entries.push_back(std::move(row));
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const entry& a, const entry& b) { return a.address < b.address; });
  return entries;
}

}  // namespace libprobe::control
