// A lock that fork() waits for.
#pragma once

#include <atomic>

#include "os/signals.hpp"

namespace libprobe::control {

/// As std::mutex, but it knows its holder: fork() may be called by a signal handler that interrupted just
/// that one, and then must not wait for it.
class fork_lock {
 public:
  constexpr fork_lock() = default;
  fork_lock(const fork_lock&) = delete;
  fork_lock& operator=(const fork_lock&) = delete;

  void lock() noexcept {
    const int me = os::thread_id();
    for (int nobody = 0; !holder_.compare_exchange_weak(nobody, me, std::memory_order_acquire); nobody = 0) {
      if (nobody != 0) holder_.wait(nobody, std::memory_order_relaxed);
    }
  }
  void unlock() noexcept {
    holder_.store(0, std::memory_order_release);
    holder_.notify_one();
  }

  [[nodiscard]] bool is_mine() const noexcept {
    return holder_.load(std::memory_order_relaxed) == os::thread_id();
  }

  // Around a fork, in this order; `before` is what the first of them returned.
  /// Returns 0, or the number of the calling thread if that held it already.
  int before_fork() noexcept {
    if (is_mine()) return os::thread_id();
    lock();
    return 0;
  }
  void after_fork_in_parent(int before) noexcept {
    if (before == 0) unlock();
  }
  /// Nobody else is there any more. (A holder has another number here.)
  void after_fork_in_child(int before) noexcept { holder_.store(before != 0 ? os::thread_id() : 0); }

 private:
  std::atomic<int> holder_{0};
};

}  // namespace libprobe::control
