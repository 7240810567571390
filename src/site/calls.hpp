// Followed calls: those whose return somebody waits for. One record for each return slot.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/retprobe.hpp>

#include "arch/ret.hpp"
#include "site/free_list.hpp"

namespace libprobe::site {

/// Whose end is a call's, too.
enum class call_place : std::uint8_t {
  elsewhere,  // nobody's that is known
  own_stack,  // its thread's, on whose own stack it lies
  in_guest,   // that of a child which borrows its thread's memory: see hit/guest.hpp
};

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
  // call. However the call ends in that thread, it is so again: see leave_own().
  std::uintptr_t interrupted = 0;
  followed_call* next = nullptr;  // of a thread's spare ones
  // Low half: the number of the thread that began it, or has it for a spare; 0: free. High half: how often
  // that has changed, so that nobody takes a new owner for the dead one that had the same number.
  std::atomic<std::uint64_t> owner{0};
  std::atomic<call_place> place{call_place::elsewhere};  // means something only while `sp` is not 0
};

extern constinit followed_call calls[arch::return_slot_count];  // by slot

inline std::size_t number_of(const followed_call& call) noexcept {
  return static_cast<std::size_t>(&call - calls);
}

/// In what order slots are taken when they are taken for the first time, and the other way round: those that
/// follow each other, often into different threads, lie so far apart that nothing which is written for one is
/// on a cache line of another's.
inline constexpr std::size_t slot_row = 16, slot_rows = 128, slot_block = slot_row * slot_rows;
static_assert(arch::return_slot_count % slot_block == 0);
constexpr std::size_t slot_in_turn(std::size_t turn) noexcept {
  const auto inside = turn % slot_block;
  return turn - inside + inside % slot_rows * slot_row + inside / slot_rows;
}
constexpr std::size_t turn_of_slot(std::size_t number) noexcept {
  const auto inside = number % slot_block;
  return number - inside + inside % slot_row * slot_rows + inside / slot_row;
}

/// Slots that no thread has, by their turn.
extern constinit free_list free_calls;

/// All calls whose slots were ever in use.
class used_calls {
 public:
  class iterator {
   public:
    explicit iterator(std::size_t turn) noexcept : turn_{turn} {}
    followed_call& operator*() const noexcept { return calls[slot_in_turn(turn_)]; }
    iterator& operator++() noexcept {
      ++turn_;
      return *this;
    }
    bool operator==(const iterator& other) const noexcept = default;

   private:
    std::size_t turn_;
  };
  [[nodiscard]] iterator begin() const noexcept { return iterator{0}; }
  [[nodiscard]] iterator end() const noexcept { return iterator{free_calls.touched()}; }
};

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
