// Followed calls of the calling thread: begun, returned, abandoned.
#pragma once

#include "site/calls.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

/// A free record, put in front of the thread's list; null if all are in use. First drops what longjmp has
/// left behind. Only while this thread is in a handler, as everything here: so no signal handler's hits come
/// in between. `used`: how far down libprobe uses the program's own stack now; 0: it is on another one.
site::followed_call* begin_call(const registers& regs, std::uintptr_t used) noexcept;

/// A record that is this thread's, and free; null: it has none.
[[gnu::always_inline]] inline site::followed_call* take_spare() noexcept {
  auto* const call = site::self.spare_calls;
  if (call == nullptr) return nullptr;
  site::self.spare_calls = call->outer;
  --site::self.spare_count;
  return call;
}

/// What begin_call() does with a free record.
[[gnu::always_inline]] inline site::followed_call& begin_with(site::followed_call& call,
                                                              std::uintptr_t sp) noexcept {
  call.sp.store(sp, std::memory_order_relaxed);
  // So that a signal handler's hits find it alive: see is_live().
  arch::save_return(sp, site::number_of(call));
  call.interrupted = site::self.follow;
  call.owner.store(epoch::thread_number(), std::memory_order_release);
  call.outer = site::self.calls;
  site::self.calls = &call;
  return call;
}

/// True if a call is made from below this one, which runs: its return address is where it put it. What
/// begin_call() asks first of the innermost call.
[[gnu::always_inline]] inline bool encloses(const site::followed_call& call, std::uintptr_t sp) noexcept {
  std::uint64_t word = 0;
  return !call.over.load(std::memory_order_acquire) &&  // pairs with the store in end_any_call()
         call.sp.load(std::memory_order_relaxed) > sp && arch::guarded_load(call.sp, word) &&
         word == arch::return_slot(site::number_of(call));
}

/// begin_call() where the thread has a record at hand, and nothing to drop; else null, and nothing is done.
[[gnu::always_inline]] inline site::followed_call* begin_quick_call(std::uintptr_t sp) noexcept {
  if (site::self.spare_calls == nullptr || site::self.abandoned != nullptr) return nullptr;
  if (site::self.calls != nullptr && !encloses(*site::self.calls, sp)) return nullptr;
  return &begin_with(*take_spare(), sp);
}

/// As begin_call() did first, but looks at all calls of the thread. `begun` is the call that is beginning,
/// which looks like one that longjmp has left behind.
void drop_left_behind(const registers& regs, std::uintptr_t used, site::followed_call& begun) noexcept;

/// The calls that ended threads have left behind, so far as nothing on their stacks says that they are alive:
/// unwind handlers run here. Inside a section, in a handler; a system call for each thread that has calls.
void drop_of_ended_threads() noexcept;

/// Nobody looks at it any more: the thread keeps a few, so that calls that follow each other, or lie in each
/// other, change nothing that threads share.
inline constexpr std::uint32_t most_spare_calls = 4;
void give_back(site::followed_call& call) noexcept;
inline void free_call(site::followed_call& call) noexcept {
  call.over.store(false, std::memory_order_relaxed);
  call.sp.store(0, std::memory_order_relaxed);
  call.instances = nullptr;
  // A guest's thread may leave the thread-local memory to another, with another number.
  if (site::self.spare_count >= most_spare_calls || !epoch::has_record()) return give_back(call);
  call.owner.store(epoch::thread_number(), std::memory_order_relaxed);
  call.outer = site::self.spare_calls;
  site::self.spare_calls = &call;
  ++site::self.spare_count;
}

/// Takes the call out of the list, and gives back its slot. Its instances are the caller's, noted as
/// returning. The saved return address may be gone afterwards.
void end_any_call(site::followed_call& call) noexcept;
inline void end_call(site::followed_call& call) noexcept {
  if (site::self.calls != &call || site::self.abandoned != nullptr) return end_any_call(call);
  site::self.returning = call.instances;
  site::self.follow = call.interrupted;
  site::self.calls = call.outer;
  free_call(call);
}

/// The call will never return: unwind handlers run, instances are given back. The slot is kept until the
/// thread's next operation here from the same height of the stack, since the unwinder that told us still
/// needs it.
void abandon_call(site::followed_call& call) noexcept;

/// What the thread's hit had begun before its handlers were left for good.
void abandon_beginnings() noexcept;

/// Every instance runs its pool's unwind handler and goes back.
void abandon_instances(retprobe_instance* first) noexcept;

}  // namespace libprobe::hit
