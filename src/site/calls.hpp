// Followed calls: those whose return somebody waits for. One record for each return slot.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/retprobe.hpp>

#include "arch/arch.hpp"

namespace libprobe::site {

/// A call that will return through its slot. Used by the thread that made it, but for `over`; and by anyone
/// who finds that thread ended. Its own line, so that threads never share one.
struct alignas(64) followed_call {
  std::atomic<std::uintptr_t> sp{0};       // where the return address lies while the function runs
  retprobe_instance* instances = nullptr;  // in order of registration
  // What this thread's `follow` was: a signal that came in before a detour could read it may have begun this
  // call.
  std::uintptr_t interrupted = 0;
  followed_call* outer = nullptr;  // the calls of one thread, innermost first
  std::atomic<int> owner{0};       // number of the thread that has it in its list; 0: free
  std::atomic<bool> over{false};   // it returned in another thread: the owner may drop it
};

extern constinit followed_call calls[arch::return_slot_count];

inline std::size_t number_of(const followed_call& call) noexcept {
  return static_cast<std::size_t>(&call - calls);
}

}  // namespace libprobe::site
