// A lock that fork() waits for.
//
// Floor: control, on os and arch. Knows nothing else of control.
// Words: the *holder* is known by the address of its thread-local memory.
#pragma once

#include <atomic>
#include <cstdint>

#include "arch/machine.hpp"
#include "os/raw.hpp"

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
      if (nobody != 0) wait_while(nobody);
    }
  }
  void unlock() noexcept {
    // Before it is asked who waits: pairs with the increment in wait_while(), behind which the kernel looks
    // at the holder.
    holder_.store(0, std::memory_order_seq_cst);
    if (waiting_.load(std::memory_order_seq_cst) != 0) os::raw::wake_one(futex());
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
    waiting_ = 0;
  }

 private:
  /// By a system call of our own: this lock is taken while libc's text is being written (std::atomic::wait
  /// calls libc's syscall(), where a guard stands).
  void wait_while(std::uintptr_t holder) noexcept {
    const auto half = static_cast<std::uint32_t>(holder);
    if (half == 0) return arch::cpu_relax();  // as if it were free
    waiting_.fetch_add(1, std::memory_order_seq_cst);
    os::raw::wait(futex(), half);
    waiting_.fetch_sub(1, std::memory_order_relaxed);
  }
  /// The holder's lower half.
  const std::uint32_t* futex() const noexcept { return reinterpret_cast<const std::uint32_t*>(&holder_); }

  // Whose thread-local memory that is: unlike a thread's number it costs no system call, and stays in a
  // child.
  std::atomic<std::uintptr_t> holder_{0};
  std::atomic<std::uint32_t> waiting_{0};
};

}  // namespace libprobe::control
