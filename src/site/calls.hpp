// Followed calls: those whose return somebody waits for. One record for each return slot.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/retprobe.hpp>
#include <span>

#include "arch/arch.hpp"
#include "site/free_list.hpp"

namespace libprobe::site {

/// A call that will return through its slot, and those that functions in it have made by tail calls: they
/// return at the same place. It belongs to its slot, whatever thread it goes on in, and whatever its stack's
/// memory holds just now. So it ends, and the slot is free again, by what certainly ends it, and only so: it
/// returned; an unwinder passed it; longjmp() passed it; its thread ended, and it lay on that thread's own
/// stack. Its own line, so that threads never share one.
struct alignas(64) followed_call {
  // Where the return address lies while the function runs; 0: it follows nothing.
  std::atomic<std::uintptr_t> sp{0};
  retprobe_instance* instances =
      nullptr;  // the last call's first; those of one call in order of registration
  // What this thread's `follow` was: a signal that came in before a detour could read it may have begun this
  // call.
  std::uintptr_t interrupted = 0;
  followed_call* next = nullptr;  // of a thread's spare ones
  // Low half: the number of the thread that began it, or has it for a spare; 0: free. High half: how often
  // that has changed, so that nobody takes a new owner for the dead one that had the same number.
  std::atomic<std::uint64_t> owner{0};
  std::atomic<bool> on_own_stack{false};  // it lies on that thread's own stack
  std::atomic<bool> of_guest{false};  // begun in a child that borrows that thread's memory: see hit/guest.hpp
};

extern constinit followed_call calls[arch::return_slot_count];
/// Numbers of slots that no thread has.
extern constinit free_list free_calls;

/// All records that were ever in use.
inline std::span<followed_call> used_calls() noexcept { return {calls, free_calls.touched()}; }

inline std::size_t number_of(const followed_call& call) noexcept {
  return static_cast<std::size_t>(&call - calls);
}

inline int owner_of(const followed_call& call) noexcept {
  return static_cast<int>(call.owner.load(std::memory_order_acquire));  // pairs with own()
}
/// The next word of an owner's.
inline std::uint64_t handed_on(std::uint64_t owner, int thread) noexcept {
  return ((owner >> 32) + 1) << 32 | static_cast<std::uint32_t>(thread);
}
/// By whoever alone has it. What was written before is seen by who finds the new owner.
inline void own(followed_call& call, int thread) noexcept {
  call.owner.store(handed_on(call.owner.load(std::memory_order_relaxed), thread), std::memory_order_release);
}

}  // namespace libprobe::site
