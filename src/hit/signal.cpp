#include "hit/signal.hpp"

#include <cstring>

#include "arch/arch.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

constexpr std::uint64_t trap = os::signal_bit(SIGTRAP);

// The kernel's mask in a signal frame is one word, whatever libc's type has room for.
std::uint64_t mask_of(const ucontext_t& context) noexcept {
  std::uint64_t mask = 0;
  std::memcpy(&mask, &context.uc_sigmask, sizeof mask);
  return mask;
}
void set_mask(ucontext_t& context, std::uint64_t mask) noexcept {
  std::memcpy(&context.uc_sigmask, &mask, sizeof mask);
}

}  // namespace

void call_handler(const os::signal_action& action, int signo, siginfo_t* info, ucontext_t& context) {
  const bool blocked = site::self.trap_blocked;
  if (blocked) set_mask(context, mask_of(context) | trap);
  const bool defers = signo == SIGTRAP && (action.flags & SA_NODEFER) == 0;
  site::self.trap_blocked = blocked || defers || (action.mask & trap) != 0;
  action.handler(signo, info, &context);
  const auto mask = mask_of(context);
  site::self.trap_blocked = (mask & trap) != 0;
  set_mask(context, mask & ~trap);
  send_kept_trap();
}

void keep_trap(const siginfo_t& info) noexcept {
  if (site::self.trap_pending) return;  // one is all that the kernel keeps, too
  site::self.trap_info = info;
  site::self.trap_pending = true;
}

void send_kept_trap() noexcept {
  auto& self = site::self;
  if (!self.trap_pending || self.trap_blocked) return;
  self.trap_pending = false;
  const siginfo_t info = self.trap_info;
  os::send_here(SIGTRAP, info);
}

}  // namespace libprobe::hit

void libprobe_on_signal(int signo, siginfo_t* info, void* frame) {
  using namespace libprobe;
  // A system call that waits with a mask of its own (ppoll, sigsuspend) hands it on to the handler that ends
  // it.
  os::change_mask(SIG_UNBLOCK, os::signal_bit(SIGTRAP));
  const auto action = site::actions[signo].load();
  if (action.is_ignored()) return;
  if (action.is_default()) return os::raise_here(signo);  // changed while this one was on its way
  if ((action.flags & SA_RESETHAND) != 0) {
    const site::action_change change;  // the kernel has done so already
    site::actions[signo].store({});
  }
  hit::call_handler(action, signo, info, *static_cast<ucontext_t*>(frame));
}
