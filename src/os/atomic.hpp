// Atomics and fences of what tests/interleavings explores: it puts a header of its own in the place of this
// one, and so runs the same sources under a model of memory.
#pragma once

#include <atomic>

namespace libprobe {

template <class T>
using atomic = std::atomic<T>;

inline void thread_fence(std::memory_order order) noexcept { std::atomic_thread_fence(order); }
/// For the compiler, and for signal handlers of the same thread.
inline void signal_fence(std::memory_order order) noexcept { std::atomic_signal_fence(order); }

}  // namespace libprobe
