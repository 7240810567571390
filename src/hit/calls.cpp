#include "hit/calls.hpp"

#include <utility>

#include "epoch/epoch.hpp"
#include "hit/run.hpp"
#include "os/signals.hpp"
#include "site/free_list.hpp"
#include "site/instances.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

constinit std::atomic<std::uint32_t> next_free[arch::return_slot_count]{};
constinit site::free_list free_calls{next_free, arch::return_slot_count};

std::uint32_t take_number() noexcept {
  for (;;) {
    const auto number = free_calls.take();
    if (number == site::free_list::none || arch::is_return_slot(number)) return number;
  }
}

site::followed_call* free_record() noexcept {
  if (auto* const spare = take_spare()) return spare;
  const auto number = take_number();
  return number != site::free_list::none ? &site::calls[number] : nullptr;
}

void unlink(site::followed_call& call) noexcept {
  for (auto** link = &site::self.calls; *link != nullptr; link = &(*link)->outer) {
    if (*link != &call) continue;
    *link = call.outer;
    return;
  }
}

/// An unwinder has told us of the end of these calls, and read their return addresses a moment later. It runs
/// below them on the stack, so at `sp` it is done with those that do not lie above; a signal may have come in
/// between.
void drop_abandoned(std::uintptr_t sp) noexcept {
  for (auto** link = &site::self.abandoned; *link != nullptr;) {
    auto& call = **link;
    if (call.sp > sp) {
      link = &call.outer;
      continue;
    }
    *link = call.outer;
    free_call(call);
  }
}

/// While a function runs, its return address is where the call put it: the slot, or, after a tail call of
/// another followed function, that one's slot, which saves ours. For a moment at the return it is the true
/// one again; but at `sp`, where a call has just been made, that tells of the new call only.
///
/// Below `sp` down to `used`, if that is not 0, the stack is ours at this moment, and so nobody else's.
bool is_live(const site::followed_call& call, std::uintptr_t sp, std::uintptr_t used) noexcept {
  if (used != 0 && call.sp < sp && call.sp >= used) return false;
  std::uint64_t word = 0;
  if (!arch::guarded_load(call.sp, word)) return false;  // the stack itself is gone
  const auto number = site::number_of(call);
  const auto slot = arch::return_slot(number);
  if (call.sp != sp && word == arch::saved_return(number)) return true;
  for (int depth = 0; depth < 64 && word != slot; ++depth) {
    const auto other = arch::return_slot_at(word);
    if (other == arch::return_slot_count || arch::return_slot(other) != word ||
        site::calls[other].sp != call.sp) {
      return false;
    }
    word = arch::saved_return(other);
  }
  return word == slot;
}

/// True if a running thread has made a call from the very same place on the stack.
bool is_overlaid(const site::followed_call& call) noexcept {
  for (std::uint32_t number = 0; number < free_calls.touched(); ++number) {
    const auto& other = site::calls[number];
    const int owner = other.owner.load(std::memory_order_acquire);
    if (&other != &call && owner > 0 && other.sp == call.sp && os::thread_exists(owner)) return true;
  }
  return false;
}

/// longjmp leaves calls behind, the innermost ones. From `link` on, stops at one that is alive and encloses
/// this place; a thread with several stacks may have others in between. `all`: looks behind that one, too,
/// where calls are that looked alive before, since nothing had been written to their place on the stack yet.
void drop_stale(site::followed_call** link, std::uintptr_t sp, std::uintptr_t used, bool all) noexcept {
  auto& rest = site::self.looks_to_rest;
  if (all && rest > 0) {
    --rest;
    return;
  }
  const std::uint32_t patience = all ? arch::return_slot_count : 16;
  std::uint32_t seen = 0;
  bool found = false;
  for (; *link != nullptr && seen < patience; ++seen) {
    auto& call = **link;
    const bool over = call.over.load(std::memory_order_acquire);  // pairs with the store in end_call()
    if (!over && is_live(call, sp, used)) {
      if (call.sp > sp && !all) return;
      link = &call.outer;
      continue;
    }
    *link = call.outer;
    if (!over) abandon_instances(call.instances);
    free_call(call);
    found = true;
  }
  // A deep recursion that is out of instances would look in vain at every call.
  if (all) rest = found ? 0 : seen / 16;
}

}  // namespace

void drop_left_behind(const registers& regs, std::uintptr_t used, site::followed_call& begun) noexcept {
  drop_stale(&begun.outer, regs.sp(), used, true);
}

void drop_of_ended_threads() noexcept {
  int alive = epoch::thread_number();  // the last one found so: calls of a thread come in runs
  for (std::uint32_t number = 0; number < free_calls.touched(); ++number) {
    auto& call = site::calls[number];
    int owner = call.owner.load(std::memory_order_acquire);  // pairs with begin_call(): sp is the call's
    if (owner <= 0 || owner == alive) continue;
    if (os::thread_exists(owner)) {
      alive = owner;
      continue;
    }
    // A coroutine outlives the thread that began it; what is on its stack tells. A stack that another thread
    // uses now is none.
    const bool over = call.over.load(std::memory_order_acquire);
    if (!over && is_live(call, is_overlaid(call) ? call.sp.load(std::memory_order_relaxed) : 0, 0)) continue;
    if (!call.owner.compare_exchange_strong(owner, -1, std::memory_order_acq_rel)) continue;
    if (!over) abandon_instances(std::exchange(call.instances, nullptr));
    free_call(call);
  }
}

site::followed_call* begin_call(const registers& regs, std::uintptr_t used) noexcept {
  if (site::self.abandoned != nullptr) drop_abandoned(regs.sp());
  if (site::self.calls != nullptr) drop_stale(&site::self.calls, regs.sp(), used, false);
  auto* call = free_record();
  if (call == nullptr) {
    drop_stale(&site::self.calls, regs.sp(), used, true);
    drop_of_ended_threads();
    call = free_record();
  }
  return call != nullptr ? &begin_with(*call, regs.sp()) : nullptr;
}

void give_back(site::followed_call& call) noexcept {
  call.owner.store(0, std::memory_order_relaxed);
  free_calls.give(static_cast<std::uint32_t>(site::number_of(call)));
}

void end_any_call(site::followed_call& call) noexcept {
  site::self.returning = call.instances;
  site::self.follow = call.interrupted;
  if (site::self.abandoned != nullptr) drop_abandoned(call.sp);
  call.instances = nullptr;
  if (site::self.calls == &call || call.owner.load(std::memory_order_relaxed) == epoch::thread_number()) {
    if (site::self.calls == &call) {
      site::self.calls = call.outer;
    } else {
      unlink(call);
    }
    free_call(call);
  } else {
    call.over.store(true,
                    std::memory_order_release);  // a stack that moved to another thread: see drop_stale()
  }
}

void abandon_instances(retprobe_instance* first) noexcept {
  while (first != nullptr) {
    auto& instance = *first;
    first = instance.next_in_call_;
    auto& pool = site::pool_of(instance);
    if (pool.abandoned != nullptr && !pool.removed.load(std::memory_order_acquire))
      pool.abandoned(pool, instance);
    pool.give(instance);
  }
}

void abandon_beginnings() noexcept {
  if (auto* call = std::exchange(site::self.beginning, nullptr)) abandon_call(*call);
  if (auto* what = site::self.chosen) end_chosen(*what);
  if (auto* instance = std::exchange(site::self.taken, nullptr)) site::pool_of(*instance).give(*instance);
  abandon_instances(std::exchange(site::self.returning, nullptr));
}

void abandon_call(site::followed_call& call) noexcept {
  site::self.follow = call.interrupted;
  unlink(call);
  auto* instances = call.instances;
  call.instances = nullptr;
  call.outer = site::self.abandoned;
  site::self.abandoned = &call;
  abandon_instances(instances);
}

}  // namespace libprobe::hit
