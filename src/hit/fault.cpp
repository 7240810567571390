#include "hit/fault.hpp"

#include "epoch/epoch.hpp"
#include "hit/landing.hpp"
#include "hit/run.hpp"
#include "hit/shown.hpp"
#include "hit/signal.hpp"
#include "os/raw.hpp"
#include "site/actions.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

bool raised_by_cpu(const siginfo_t& info) noexcept { return info.si_code > 0; }

void restore_default(int signo) noexcept {
  const os::signal_action standard;
  os::change_action(signo, &standard, nullptr);
}

/// The process is about to die of this instruction: let it do so at its own address, for the core dump.
void restore_text(std::uintptr_t address) noexcept {
  const epoch::section section;
  const site::site* at = site::sites.find(address);
  if (at == nullptr) return;
  const os::raw::file text = os::raw::open_text();
  const std::span<const std::uint8_t> bytes =
      at->jump != nullptr ? std::span<const std::uint8_t>{at->jump->original}.first(at->jump->shape.window)
                          : std::span<const std::uint8_t>{at->plan.original}.first(arch::breakpoint_length);
  static_cast<void>(text.write_at(address, bytes));
}

/// While it lives the mask is that of an action's handler, as the kernel would have set it but for SIGTRAP.
class handler_mask {
 public:
  handler_mask(const os::signal_action& action, int signo) noexcept {
    auto blocked = action.mask;
    if ((action.flags & SA_NODEFER) == 0) blocked |= os::signal_bit(signo);
    os::change_mask(SIG_BLOCK, blocked & ~os::signal_bit(SIGTRAP), &before_);
  }
  ~handler_mask() { os::change_mask(SIG_SETMASK, before_); }
  handler_mask(const handler_mask&) = delete;
  handler_mask& operator=(const handler_mask&) = delete;

 private:
  std::uint64_t before_ = 0;
};

/// The program's own action, with our handler's place kept. False: it has none, and would die.
bool run_own_action(int signo, siginfo_t& info, ucontext_t& context) {
  const auto action = site::actions[signo].load();
  const bool forced = raised_by_cpu(info);  // then the kernel kills where the signal is ignored or blocked
  if (signo == SIGTRAP && site::self.trap_blocked) {
    if (!forced) keep_trap(info);
    return !forced;
  }
  if (action.is_ignored() && !forced) return true;
  if (action.is_default() || action.is_ignored()) return false;
  if ((action.flags & SA_RESETHAND) != 0) reset_action(signo);
  const handler_mask mask{action, signo};
  call_handler(action, signo, &info, context);
  return true;
}

}  // namespace

bool deliver_fault(std::uintptr_t address, int signo, siginfo_t& info, ucontext_t& context, registers& regs) {
  {
    const epoch::section section;
    const site::site* at = site::sites.find(address);
    if (at != nullptr && run_fault(*at, regs, signo)) {
      arch::store(regs, context);
      return true;
    }
  }
  // Outside the section: the program's handler may never come back.
  arch::store(regs, context);
  if (run_own_action(signo, info, context)) return true;
  restore_text(address);
  restore_default(signo);
  return false;
}

void pass_on(int signo, siginfo_t& info, ucontext_t& context, std::uintptr_t breakpoint) {
  if (run_own_action(signo, info, context)) return;
  restore_default(signo);
  if (breakpoint != 0) {
    registers regs;
    arch::load(regs, context);
    regs.set_ip(breakpoint);  // runs into it again, and dies there
    arch::store(regs, context);
  } else if (signo == SIGTRAP || !raised_by_cpu(info)) {
    os::raise_here(signo);
  }
}

namespace {

/// A fault inside a slot, `regs` as the CPU left them. False: not one, or the displaced instruction has run.
bool slot_fault(int signo, siginfo_t& info, ucontext_t& context, registers& regs) {
  // SIGFPE and SIGILL tell the instruction's address.
  const bool tells_ip = info.si_addr == reinterpret_cast<void*>(regs.ip());
  const auto how = show(regs);
  if (how.address == 0 || !how.back.before) return false;
  if (tells_ip) info.si_addr = reinterpret_cast<void*>(how.address);
  store(regs, context);
  told(context);
  // Mended, and meant to run again: in the slot, so that the probe is not hit twice for one execution.
  if (deliver_fault(how.address, signo, info, context, regs)) go_on(how, context);
  return true;
}

bool land_here(const site::text_watch& text, registers& regs) noexcept {
  const epoch::section section;
  return land_from_fault(text, regs);
}

}  // namespace

}  // namespace libprobe::hit

void libprobe_on_fault(int signo, siginfo_t* info, void* frame) {
  using namespace libprobe;
  // Before the table is looked at. Pairs with the writer's increments around each change of text.
  const site::text_watch text;
  auto& context = *static_cast<ucontext_t*>(frame);
  if (info->si_code > 0) {  // raised by the CPU, not sent by somebody
    if (arch::fix_guarded_load(context)) {
      site::self.fault_signal = signo;
      site::self.fault_info = *info;
      site::self.fault_words = arch::fault_of(context);
      return hit::told(context);
    }
    registers regs;
    arch::load(regs, context);
    if (signo == SIGILL && hit::land_here(text, regs)) {
      arch::store(regs, context);
      return hit::told(context);
    }
    if (hit::slot_fault(signo, *info, context, regs)) return;
  }
  hit::pass_on(signo, *info, context, 0);
  if (libprobe_untold == &context) hit::told(context);
}
