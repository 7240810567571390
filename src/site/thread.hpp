// What the hit path knows of the calling thread.
#pragma once

#include <signal.h>

#include <cstdint>

#include "machine.hpp"

namespace libprobe::site {

struct thread_state {
  std::uint32_t in_handler;  // depth: a user's handler is running
  std::uint32_t in_control;  // depth: libprobe itself is at work, maybe under its locks
  int fault_signal;          // of the last failed guarded load
  siginfo_t fault_info;
  arch::fault_words fault_words;

  /// A hit now runs no handler.
  [[nodiscard]] bool busy() const noexcept { return in_handler != 0 || in_control != 0; }
};

extern __thread thread_state self __attribute__((tls_model("initial-exec")));

/// While it lives, probes that this thread hits run no handler: so none can run into libprobe's own locks.
class quiet {
 public:
  quiet() noexcept { ++self.in_control; }
  ~quiet() { --self.in_control; }
  quiet(const quiet&) = delete;
  quiet& operator=(const quiet&) = delete;
};

}  // namespace libprobe::site
