#include "hit/signal.hpp"

#include "arch/trap.hpp"
#include "hit/shown.hpp"
#include "os/signal_stack.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

constexpr std::uint64_t trap = os::signal_bit(SIGTRAP);

struct handler_call {
  const os::signal_action& action;
  int signo;
  siginfo_t* info;
  ucontext_t& context;
};

/// A handler begins, or one that was on its way when another one came, which may never come back: see
/// escape.hpp.
void come_from(ucontext_t& context) noexcept {
  arch::finish_step(context);
  os::note_signal_stack(context, arch::stack_pointer(context));
}

/// Runs it while other signals' frames, those that were on their way when `inner` came, show the program's
/// state. `untold`: the first of them that is in libprobe_untold.
void run_shown(const ucontext_t& inner, ucontext_t* untold, const handler_call& call) {
  // One in hand is about to be put in front of the others, or was just taken from there.
  auto* frame = arch::frame_in_hand(inner);
  if (frame == nullptr || frame == untold) {
    frame = untold;
    if (untold != nullptr) untold = untold->uc_link;
  }
  if (frame == nullptr) return call.action.handler(call.signo, call.info, &call.context);
  come_from(*frame);
  shown how;
  const bool ours = show(*frame, how, true);
  run_shown(*frame, untold, call);
  if (ours) go_on(how, *frame);
}

}  // namespace

void call_handler(const os::signal_action& action, int signo, siginfo_t* info, ucontext_t& context) {
  come_from(context);
  const bool blocked = site::self.trap_blocked;
  if (blocked) os::set_mask(context, os::mask_of(context) | trap);
  const bool defers = signo == SIGTRAP && (action.flags & SA_NODEFER) == 0;
  site::self.trap_blocked = blocked || defers || (action.mask & trap) != 0;
  const auto* const interrupted = changing;
  if (interrupted != nullptr) arch::store(*interrupted->to, *interrupted->frame);
  changing = nullptr;
  // The interrupted code's own: calls that the handler makes may end in ways that put nothing back.
  const auto follow = site::self.follow;
  shown how;
  const bool ours = show(context, how);
  if (libprobe_untold == &context) told(context);
  auto* const untold = libprobe_untold;
  libprobe_untold = nullptr;  // it may leave by a jump
  run_shown(context, untold, {action, signo, info, context});
  libprobe_untold = untold;
  changing = interrupted;
  site::self.follow = follow;
  if (ours) go_on(how, context);
  const auto mask = os::mask_of(context);
  site::self.trap_blocked = (mask & trap) != 0;
  os::set_mask(context, mask & ~trap);
  send_kept_trap();
}

void reset_action(int signo) noexcept {
  const site::action_change change;
  site::actions[signo].store({});
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
  auto& context = *static_cast<ucontext_t*>(frame);
  const auto action = site::actions[signo].load();
  if (action.is_ignored()) return hit::told(context);
  if (action.is_default()) {  // changed while this one was on its way
    hit::told(context);
    return os::raise_here(signo);
  }
  if ((action.flags & SA_RESETHAND) != 0) hit::reset_action(signo);  // the kernel has done so already
  hit::call_handler(action, signo, info, context);
}
