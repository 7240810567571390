// The floor that hits are measured against: int3, an empty handler, sigreturn.
#pragma once

#include <signal.h>

#include "os/signals.hpp"

extern "C" void target_breakpoint();

/// While it lives, SIGTRAP goes to an empty SA_SIGINFO handler instead of libprobe.
class bare_handler {
 public:
  bare_handler() {
    libprobe::os::change_action(SIGTRAP, nullptr, &before_);
    struct sigaction empty {};
    empty.sa_sigaction = [](int, siginfo_t*, void*) {};
    empty.sa_flags = SA_SIGINFO;
    sigaction(SIGTRAP, &empty, nullptr);
  }
  ~bare_handler() { libprobe::os::change_action(SIGTRAP, &before_, nullptr); }
  bare_handler(const bare_handler&) = delete;
  bare_handler& operator=(const bare_handler&) = delete;

 private:
  libprobe::os::signal_action before_;
};
