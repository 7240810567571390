// A thread that is held while a jump is written (src/os/hold.hpp): where it stands at an inner boundary of
// the jump's window it goes on in the copy of the instruction that was there. So it never meets the jump's
// bytes.
#include "os/hold.hpp"
#include "epoch/epoch.hpp"
#include "hit/landing.hpp"
#include "hit/shown.hpp"
#include "os/signals.hpp"
#include "site/thread.hpp"

void libprobe_on_hold(int signo, siginfo_t* info, void* frame) {
  using namespace libprobe;
  if (!os::asks_to_hold(*info)) return libprobe_on_fault(signo, info, frame);
  auto& context = *static_cast<ucontext_t*>(frame);
  os::stay_held(*info, os::mask_of(context));
  // Whoever has unblocked SIGTRAP meanwhile has noted it, and changed the handler's mask only.
  if (site::self.trap_blocked) os::set_mask(context, os::mask_of(context) & ~os::signal_bit(SIGTRAP));
  hit::told(context);
  registers regs;
  arch::load(regs, context);
  const epoch::section section;
  if (const auto copy = hit::copy_at(regs.ip()); copy != 0) arch::set_ip(context, copy);
}
