#include "control/engine.hpp"

#include <errno.h>
#include <pthread.h>

#include <cstdlib>
#include <string_view>

#include "arch/arch.hpp"
#include "control/registry.hpp"
#include "epoch/epoch.hpp"
#include "site/direct_call.hpp"
#include "site/previous.hpp"
#include "site/thread.hpp"

// In src/hit; known here by name only, as the kernel knows it.
extern "C" void libprobe_on_fault(int signo, siginfo_t* info, void* frame);

namespace libprobe::control {

namespace {

constexpr unsigned long restorer_flag = 0x04000000;  // SA_RESTORER, asm/signal.h

bool take_over(int signo) noexcept {
  os::signal_action ours;
  if (!os::change_action(signo, nullptr, &site::previous[signo])) return false;
  ours.restorer = libprobe_restorer;
  if (signo == SIGTRAP) {
    // The mask is left alone, so that nothing has to restore it; a hit inside a handler traps again.
    ours.handler = libprobe_trap_entry;
    ours.flags = SA_SIGINFO | SA_NODEFER | restorer_flag;
  } else {
    // The program's own handler is called from ours: it finds the stack and the mask that it asked for, but
    // for SIGTRAP, which probes need.
    const auto& previous = site::previous[signo];
    ours.handler = libprobe_on_fault;
    ours.flags = SA_SIGINFO | restorer_flag | (previous.flags & (SA_ONSTACK | SA_NODEFER | SA_RESTART));
    ours.mask = previous.mask & ~os::signal_bit(SIGTRAP);
  }
  return os::change_action(signo, &ours, nullptr);
}

errc prepare() noexcept {
  epoch::prepare();
  arch::prepare_ordinary();
  site::prepare_direct_calls();
  site::errno_offset = reinterpret_cast<std::uintptr_t>(&errno) - arch::thread_base();
  for (const int signo : site::handled_signals) {
    if (!take_over(signo)) return errc::signal_refused;
  }
  return errc::ok;
}

// When the program is loaded: before there are threads that might fork while another one registers its first
// probe.
[[gnu::constructor]] void prepare_fork() noexcept {
  registry::instance();
  pthread_atfork([] { registry::instance().before_fork(); },
                 [] { registry::instance().after_fork_in_parent(); },
                 [] { registry::instance().after_fork_in_child(); });
}

}  // namespace

bool jumps_are_wanted() noexcept {
  static const bool wanted = [] {
    const char* const said = std::getenv("LIBPROBE_NO_JUMPS");
    return said == nullptr || *said == '\0' || std::string_view{said} == "0";
  }();
  return wanted;
}

errc prepare_engine() noexcept {
  // Plain, as the registry's lock is held: the guard of a local static might stay taken in a forked child.
  static constinit bool done = false;
  static constinit errc answer = errc::ok;
  if (!done) answer = prepare();
  done = true;
  return answer;
}

}  // namespace libprobe::control
