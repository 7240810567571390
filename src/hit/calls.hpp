// Followed calls: begun, joined, returned, left.
#pragma once

#include "os/own_stack.hpp"
#include "site/calls.hpp"
#include "site/look_limit.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

/// The call that will return to where this function's return address leads, if that is a slot: the function
/// was reached by a tail call.
[[gnu::always_inline]] inline site::followed_call* joined_call(std::uintptr_t return_address) noexcept {
  const auto number = arch::return_slot_at(return_address);
  return number != arch::return_slot_count && arch::return_slot(number) == return_address
             ? &site::calls[number]
             : nullptr;
}

/// Follows the function that begins at this hit: sets hit.call, or leaves it null where no slot is free. Only
/// while this thread is in a handler, as everything here: so no signal handler's hits come in between.
void follow_call(site::hit& hit) noexcept;

/// A record that is this thread's, and free; null: it has none.
[[gnu::always_inline]] inline site::followed_call* take_spare() noexcept {
  auto* const call = site::self.spare_calls;
  if (call == nullptr) return nullptr;
  site::self.spare_calls = call->next;
  --site::self.spare_count;
  return call;
}

/// `call` is free, and this thread's.
[[gnu::always_inline]] inline void begin_with(site::followed_call& call, std::uintptr_t sp) noexcept {
  site::self.beginning = &call;
  ++site::self.open_calls;
  call.interrupted = site::self.follow;
  call.place.store(os::own_stack.has(sp) ? site::call_place::own_stack : site::call_place::elsewhere,
                   std::memory_order_relaxed);
  call.sp.store(sp, std::memory_order_relaxed);
}

/// What follow_call() does where the thread has a record at hand, and the function was not reached by a tail
/// call; else null, and nothing is done.
[[gnu::always_inline]] inline site::followed_call* begin_quick_call(std::uintptr_t sp,
                                                                    std::uintptr_t return_address) noexcept {
  if (arch::return_slot_at(return_address) != arch::return_slot_count) return nullptr;
  auto* const call = take_spare();
  if (call != nullptr) begin_with(*call, sp);
  return call;
}

/// It is a call, and lies there.
inline bool lies_at(const site::followed_call& call, site::call_place place) noexcept {
  return call.sp.load(std::memory_order_acquire) != 0 && call.place.load(std::memory_order_relaxed) == place;
}
/// The stack's memory has not become something else, as where a program copies stacks out and in.
bool lies_there(const site::followed_call& call) noexcept;
/// As abandon_call(), if it still has that owner: several may find that it is over.
void drop(site::followed_call& call, std::uint64_t owner) noexcept;

/// The calls of ended threads that lay on their own stacks, and of guests that this thread has had: unwind
/// handlers run here. Inside a section, in a handler; a system call for each thread that has calls.
void drop_of_ended_threads() noexcept;
/// What `take` brings; where that is null, once more behind a look for ended threads, if that may pay.
template <class Take>
[[gnu::always_inline]] inline auto take_with_look(site::look_limit& limit, Take&& take) noexcept {
  auto* found = take();
  if (found == nullptr && limit.may_look()) {
    drop_of_ended_threads();
    found = take();
    if (found == nullptr) limit.looked_in_vain();
  }
  if (found != nullptr) limit.found();
  return found;
}

/// A thread keeps a few, so that calls that follow each other, or lie in each other, change nothing that
/// threads share.
inline constexpr std::uint32_t most_spare_calls = 4;
/// Instead of a thread's spare_count: it is to have none, so that each of its calls is begun by
/// follow_call().
inline constexpr std::uint32_t no_spares = 0xffffffff;
void give_back(site::followed_call& call) noexcept;
/// A record of this thread's.
inline void free_own_call(site::followed_call& call) noexcept {
  call.instances = nullptr;
  call.sp.store(0, std::memory_order_release);  // pairs with goes_with_thread()
  // A guest's thread may leave the thread-local memory to another, with another number.
  if (site::self.spare_count >= most_spare_calls || !epoch::has_record()) return give_back(call);
  call.next = site::self.spare_calls;
  site::self.spare_calls = &call;
  ++site::self.spare_count;
}
inline void free_call(site::followed_call& call) noexcept {
  // First of all: a free record of a thread's is that thread's to take, see collect_spare_calls().
  if (const int me = epoch::thread_number(); site::owner_of(call) != me) site::own(call, me);
  free_own_call(call);
}

/// One that this thread has begun ends, in this thread. Of several the innermost first.
inline void leave_own(const site::followed_call& call) noexcept {
  site::self.follow = call.interrupted;
  --site::self.open_calls;
}

/// It has returned, or does not begin after all. Its instances are the caller's, noted as returning.
inline void end_call(site::followed_call& call) noexcept {
  site::self.returning = call.instances;
  if (const int me = epoch::thread_number(); site::owner_of(call) == me) {
    leave_own(call);
  } else {
    site::own(call, me);  // as in free_call()
  }
  free_own_call(call);
}

/// It will never return: unwind handlers run, the last call's first, and instances are given back.
void abandon_call(site::followed_call& call) noexcept;

/// Calls of the calling thread that `is_passed` says yes to, of the place on the stack where a call's return
/// address lies: if it still lies there, they are left for good. Inside a section, in a handler.
template <class F>
void abandon_passed(F&& is_passed) noexcept {
  site::followed_call* inner = nullptr;  // linked by `next`, the innermost first
  for (auto& call : site::used_calls()) {
    const auto sp = call.sp.load(std::memory_order_relaxed);
    if (sp == 0 || site::owner_of(call) != epoch::thread_number() || &call == site::self.beginning) continue;
    if (!is_passed(sp) || !lies_there(call)) continue;
    auto** link = &inner;
    while (*link != nullptr && (*link)->sp.load(std::memory_order_relaxed) < sp) link = &(*link)->next;
    call.next = *link;
    *link = &call;
  }
  while (inner != nullptr) {
    auto& call = *inner;
    inner = call.next;
    // In the middle of its end: see end_call().
    if (call.instances == site::self.returning) site::self.returning = nullptr;
    leave_own(call);
    drop(call, call.owner.load(std::memory_order_acquire));
  }
}

/// The thread's spare records are those that its list leads to, and those that an operation had in hand that
/// was left for good.
void collect_spare_calls() noexcept;

/// What the thread's hit had begun before its handlers were left for good.
void abandon_beginnings() noexcept;

/// Every instance runs its pool's unwind handler and goes back. What a handler that never comes back leaves
/// is noted as returning.
void abandon_instances(retprobe_instance* first) noexcept;

}  // namespace libprobe::hit
