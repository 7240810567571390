#include "control/engine.hpp"

#include <errno.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <unwind.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "arch/call.hpp"
#include "arch/state.hpp"
#include "arch/text.hpp"
#include "arch/trap.hpp"
#include "control/presence.hpp"
#include "control/registry.hpp"
#include "epoch/epoch.hpp"
#include "os/process.hpp"
#include "site/actions.hpp"
#include "site/direct_call.hpp"
#include "site/thread.hpp"
#include "symbols/follow.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

bool take_over(int signo) noexcept {
  const site::action_change change;
  os::signal_action before;
  if (!os::change_action(signo, nullptr, &before)) return false;
  const auto ours = site::kernel_action(signo, before);
  if (ours.handler == before.handler) return true;
  site::actions[signo].store(before);
  return os::change_action(signo, &ours, nullptr);
}

namespace {

bool take_over_all() noexcept {
  for (int signo = 1; signo <= site::last_signal; ++signo) {
    if (signo != SIGKILL && signo != SIGSTOP && !take_over(signo)) return false;
  }
  return true;
}

/// As if it had never been tried: what the program wants stands in the kernel again.
void give_back_all() noexcept {
  for (int signo = 1; signo <= site::last_signal; ++signo) {
    if (signo == SIGKILL || signo == SIGSTOP) continue;
    const site::action_change change;
    os::signal_action now;
    if (!os::change_action(signo, nullptr, &now)) continue;
    const auto before = site::actions[signo].load();
    if (now.handler == site::kernel_action(signo, before).handler) os::change_action(signo, &before, nullptr);
  }
}

namespace {

/// The kernel puts the program's file name at the end of the first thread's stack, and a null word behind it
/// (linux/fs/exec.c). 0: it does not tell.
std::uintptr_t initial_stack_end() noexcept {
  const auto name = getauxval(AT_EXECFN);
  return name == 0 ? 0 : name + std::strlen(reinterpret_cast<const char*>(name)) + 1 + sizeof(std::uint64_t);
}

}  // namespace

errc prepare() noexcept {
  epoch::prepare();
  arch::set_initial_stack_end(initial_stack_end());
  arch::prepare_ordinary(arch::enabled_state_components());
  site::prepare_direct_calls();
  site::errno_offset = reinterpret_cast<std::uintptr_t>(&errno) - arch::thread_base();
  // Before it is asked in a personality routine for an exception that another copy of it has thrown: each
  // makes its tables when it is first used.
  _Unwind_Backtrace([](_Unwind_Context*, void*) { return _URC_END_OF_STACK; }, nullptr);
  site::resume_unwinding =
      symbols::follow(*symbols::current_modules(), reinterpret_cast<std::uintptr_t>(&_Unwind_Resume));
  if (take_over_all()) return errc::ok;
  give_back_all();
  return errc::signal_refused;
}

// When the program is loaded: before there are threads that might fork while another one registers its first
// probe.
[[gnu::constructor]] void prepare_fork() noexcept {
  os::settle();
  // Once for each registry: where one module's symbols stand for another's, several constructors come here.
  if (!registry::instance().begin_to_see_forks()) return;
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

errc prepare_engine(std::string& detail) {
  // Plain, as the registry's lock is held: the guard of a local static might stay taken in a forked child.
  static constinit bool done = false;
  if (done) return errc::ok;
  if (arch::is_translated()) {
    detail = "valgrind runs a translation of the program, which does not follow changes of its text";
    return errc::unsupported_environment;
  }
  // A guest's signal handlers are its own.
  if (os::is_guest()) return errc::signal_refused;
  if (const auto why = claim_process(detail); why != errc::ok) return why;
  const auto why = prepare();
  done = why == errc::ok;
  if (!done) give_process_up();
  return why;
}

}  // namespace libprobe::control
