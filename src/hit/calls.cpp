#include "hit/calls.hpp"

#include <utility>

#include "epoch/epoch.hpp"
#include "hit/guest.hpp"
#include "hit/run.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "site/instances.hpp"

namespace libprobe::hit {

namespace {

constinit site::look_limit slots_of_ended_threads;

site::followed_call* free_record() noexcept {
  if (auto* const spare = take_spare()) return spare;
  for (;;) {
    const auto turn = site::free_calls.take();
    if (turn == site::free_list::none) return nullptr;
    const auto number = site::slot_in_turn(turn);
    if (!arch::is_return_slot(number)) continue;
    site::own(site::calls[number], epoch::thread_number());
    return &site::calls[number];
  }
}

/// True if what such a record stands for went with its thread: a call on its own stack, or a spare one.
bool goes_with_thread(const site::followed_call& call) noexcept {
  return call.sp.load(std::memory_order_acquire) == 0 || lies_at(call, site::call_place::own_stack);
}

/// The thread's first followed call: whatever it has begun belonged to a dead one with the same number.
void meet_calls() noexcept {
  site::self.has_followed = true;
  // The first thread's own stack ends with the process.
  if (!os::is_initial_thread()) os::find_own_stack();
  if (!epoch::has_record()) return;
  for (auto& call : site::used_calls()) {
    const auto owner = call.owner.load(std::memory_order_acquire);
    if (static_cast<int>(owner) == epoch::thread_number() && lies_at(call, site::call_place::own_stack))
      drop(call, owner);
  }
  collect_spare_calls();
}

}  // namespace

void drop(site::followed_call& call, std::uint64_t owner) noexcept {
  const auto mine = site::handed_on(owner, epoch::thread_number());
  if (!call.owner.compare_exchange_strong(owner, mine, std::memory_order_acq_rel)) return;
  abandon_call(call);
}

bool lies_there(const site::followed_call& call) noexcept {
  return arch::lies_on_stack(site::number_of(call), call.sp.load(std::memory_order_relaxed));
}

void drop_of_ended_threads() noexcept {
  settle_guest();
  int alive = epoch::thread_number();  // the last one found so: calls of a thread come in runs
  for (auto& call : site::used_calls()) {
    const auto owner = call.owner.load(std::memory_order_acquire);  // pairs with own(): what it says is whole
    const auto thread = static_cast<int>(owner);
    if (thread <= 0 || thread == alive || !goes_with_thread(call)) continue;
    if (os::thread_exists(thread)) {
      alive = thread;
    } else if (goes_with_thread(
                   call)) {  // again: until its end the thread may have begun another call with it
      drop(call, owner);
    }
  }
}

void follow_call(site::hit& hit) noexcept {
  if (!site::self.has_followed) meet_calls();
  const bool in_guest = !settle_guest();
  if (auto* const around = joined_call(arch::return_address(hit.regs))) {
    hit.call = around;
    hit.joined = true;
    return;
  }
  auto* const call = take_with_look(slots_of_ended_threads, free_record);
  if (call == nullptr) return;
  begin_with(*call, hit.regs.sp());
  if (in_guest) call->place.store(site::call_place::in_guest, std::memory_order_relaxed);
  hit.call = call;
}

void give_back(site::followed_call& call) noexcept {
  site::own(call, 0);
  site::free_calls.give(static_cast<std::uint32_t>(site::turn_of_slot(site::number_of(call))));
}

void collect_spare_calls() noexcept {
  if (site::self.spare_count == no_spares) return;
  site::self.spare_calls = nullptr;
  site::self.spare_count = 0;
  if (!epoch::has_record()) return;
  for (auto& call : site::used_calls()) {
    // In this order: whoever frees a call of this thread's takes it over first. Pairs with free_call().
    if (call.sp.load(std::memory_order_acquire) != 0) continue;
    auto owner = call.owner.load(std::memory_order_acquire);
    const int me = epoch::thread_number();
    if (static_cast<int>(owner) != me) continue;
    // It may be a dead namesake's, which somebody is about to drop.
    if (call.owner.compare_exchange_strong(owner, site::handed_on(owner, me), std::memory_order_acq_rel))
      free_own_call(call);
  }
}

void abandon_instances(retprobe_instance* first) noexcept {
  auto& returning = site::self.returning;
  auto* const others = returning;
  auto** last = &first;
  while (*last != nullptr) last = &(*last)->state_.next_in_call;
  *last = others;
  returning = first;
  while (returning != others) {
    auto& instance = *returning;
    site::self.taken = &instance;
    returning = instance.state_.next_in_call;
    auto& pool = site::pool_of(instance);
    if (pool.abandoned != nullptr && !pool.removed.load(std::memory_order_acquire))
      pool.abandoned(pool, instance);
    site::self.taken = nullptr;
    pool.give(instance);
  }
}

void abandon_beginnings() noexcept {
  if (auto* what = site::self.chosen) end_chosen(*what);
  if (auto* instance = std::exchange(site::self.taken, nullptr)) site::pool_of(*instance).give(*instance);
  if (auto* call = std::exchange(site::self.beginning, nullptr)) {
    leave_own(*call);
    abandon_call(*call);
  }
  abandon_instances(std::exchange(site::self.returning, nullptr));
}

void abandon_call(site::followed_call& call) noexcept {
  auto* const instances = call.instances;
  free_call(call);
  abandon_instances(instances);
}

}  // namespace libprobe::hit
