#include "hit/shown.hpp"

#include <atomic>

#include "arch/patch.hpp"
#include "arch/ret.hpp"
#include "epoch/epoch.hpp"
#include "os/signals.hpp"
#include "site/site.hpp"

extern "C" {
constinit __thread ucontext_t* libprobe_untold __attribute__((tls_model("initial-exec"))) = nullptr;
}

namespace libprobe::hit {

constinit __thread const change* changing __attribute__((tls_model("initial-exec"))) = nullptr;

void store(const registers& regs, ucontext_t& frame) noexcept {
  const change mine{&regs, &frame};
  std::atomic_signal_fence(std::memory_order_seq_cst);
  changing = &mine;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // whoever comes in now stores it first
  arch::store(regs, frame);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  changing = nullptr;
}

namespace {

/// One step from libprobe's code towards the program's.
std::optional<arch::way_back> leave(registers& regs, shown& how) noexcept {
  const site::slot* code = site::slot_at(regs.ip());
  if (code != nullptr) {
    const auto back = arch::translate(code->layout, code->address, code->code, regs);
    if (code->stepped) {
      arch::set_single_step(regs, false);
      how.steps = back.before;
    }
    if (how.address == 0) how.address = code->address;
    return back;
  }
  if (site::hop_pages.find(site::hop_page_of(regs.ip())) != nullptr) {
    code = site::slot_at(arch::jump_target(regs.ip()));
    if (code == nullptr) return std::nullopt;
    const arch::way_back back{true, regs.ip()};
    regs.set_ip(code->address);
    return back;
  }
  return arch::translate_return(regs);
}

}  // namespace

shown show(registers& regs) noexcept {
  shown how;
  const epoch::section section;
  // Behind a return slot may lie another one, or a slot.
  for (int depth = 0; depth < 64; ++depth) {
    const auto back = leave(regs, how);
    if (!back) break;
    if (depth == 0) {
      how.back = *back;
    } else {
      how.back.sp += back->sp;
    }
  }
  how.ip = regs.ip();
  return how;
}

void go_on(const shown& how, registers& regs) noexcept {
  if (how.back.ip == 0 || regs.ip() != how.ip) return;
  arch::take(how.back, regs);
  if (how.steps) arch::set_single_step(regs, true);
}

bool show(ucontext_t& frame, shown& how, bool trapped) noexcept {
  registers regs;
  arch::load(regs, frame);
  trapped = trapped && arch::is_behind_breakpoint(frame);
  if (trapped) regs.set_ip(regs.ip() - arch::behind_breakpoint());
  const auto ip = regs.ip();
  how = show(regs);
  how.trapped = trapped;
  if (trapped && how.back.ip == 0) how.back.ip = ip;
  if (how.back.ip == 0) return false;
  store(regs, frame);
  return true;
}

void go_on(const shown& how, ucontext_t& frame) noexcept {
  registers regs;
  arch::load(regs, frame);
  if (regs.ip() != how.ip) return;
  go_on(how, regs);
  if (how.trapped) regs.set_ip(regs.ip() + arch::behind_breakpoint());
  os::change_mask(SIG_SETMASK, ~os::signal_bit(SIGTRAP));
  arch::store(regs, frame);
}

}  // namespace libprobe::hit
