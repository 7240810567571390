// What the program believes that its signal actions are. In the kernel stand libprobe's, which call the
// program's.
#pragma once

#include <atomic>
#include <cstdint>

#include "os/signals.hpp"

namespace libprobe::site {

/// One action, read whole while another thread changes it. (A sequence lock: Boehm, "Can seqlocks get along
/// with programming language memory models?", 2012.)
class believed_action {
 public:
  /// Signal-safe: who changes it cannot be interrupted by a signal, see action_change.
  [[nodiscard]] os::signal_action load() const noexcept;
  /// Under an action_change.
  void store(const os::signal_action& to) noexcept;

 private:
  std::atomic<std::uint32_t> version_{0};  // odd while it changes
  std::atomic<std::uint64_t> words_[4]{};
};

inline constexpr int last_signal = 64;
/// By signal number.
extern constinit believed_action actions[last_signal + 1];

/// The right to change actions, the kernel's and those above. While it lives no signal comes in. Signal-safe.
class action_change {
 public:
  action_change() noexcept;
  ~action_change();
  action_change(const action_change&) = delete;
  action_change& operator=(const action_change&) = delete;

  /// In a forked child: whoever held it is gone.
  static void after_fork_in_child() noexcept;

 private:
  std::uint64_t mask_;
};

/// What stands in the kernel where the program wants `wanted`: a handler of libprobe's that calls the
/// program's, on the stack and with the mask that it asked for but for SIGTRAP; and for the signals that a
/// probe can raise always one.
os::signal_action kernel_action(int signo, const os::signal_action& wanted) noexcept;

/// True for the signals that a probe can raise.
constexpr bool raised_by_probes(int signo) noexcept {
  return signo == SIGTRAP || signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL;
}

}  // namespace libprobe::site
