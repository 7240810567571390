// A lock that fork() waits for.
#pragma once

#include <atomic>
#include <cstdint>

#include "arch/arch.hpp"

namespace libprobe::control {

/// As std::mutex, but it knows its holder: fork() may be called by a signal handler that interrupted just
/// that one, and then must not wait for it.
class fork_lock {
 public:
  constexpr fork_lock() = default;
  fork_lock(const fork_lock&) = delete;
  fork_lock& operator=(const fork_lock&) = delete;

  void lock() noexcept {
    const auto me = arch::thread_base();
    for (std::uintptr_t nobody = 0; !holder_.compare_exchange_weak(nobody, me, std::memory_order_acquire);
         nobody = 0) {
      if (nobody != 0) holder_.wait(nobody, std::memory_order_relaxed);
    }
  }
  void unlock() noexcept {
    holder_.store(0, std::memory_order_release);
    holder_.notify_one();
  }

  [[nodiscard]] bool is_mine() const noexcept {
    return holder_.load(std::memory_order_relaxed) == arch::thread_base();
  }

  // Around a fork, in this order; `mine` is what the first of them returned.
  /// True if the calling thread held it already.
  bool before_fork() noexcept {
    if (is_mine()) return true;
    lock();
    return false;
  }
  void after_fork_in_parent(bool mine) noexcept {
    if (!mine) unlock();
  }
  /// Nobody else is there any more.
  void after_fork_in_child(bool mine) noexcept {
    if (!mine) holder_.store(0);
  }

 private:
  // Whose thread-local memory that is: unlike a thread's number it costs no system call, and stays in a
  // child.
  std::atomic<std::uintptr_t> holder_{0};
};

}  // namespace libprobe::control
