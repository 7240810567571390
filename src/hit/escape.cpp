#include "hit/escape.hpp"

#include "hit/calls.hpp"
#include "hit/run.hpp"
#include "os/own_stack.hpp"
#include "os/signal_stack.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

/// What lies at an address has been left for good, by a jump from one place on a stack to another.
class passed {
 public:
  passed(std::uintptr_t from, std::uintptr_t to) noexcept
      : from_{from},
        to_{to},
        from_signal_stack_{os::on_signal_stack(from)},
        to_signal_stack_{os::on_signal_stack(to)} {
    // What a signal's handler leaves reaches down to where the signal came.
    const auto interrupted = from_signal_stack_ ? os::own_signal_stack.interrupted : from;
    // Only of the thread's own stack is it known where it ends. Jumps between others may be switches.
    if (!os::on_own_stack(interrupted) || !os::on_own_stack(to)) return;
    // A call that is about to be made, or has just returned, has its return address below.
    own_low_ = interrupted - arch::return_word;
    own_high_ = to;
  }
  [[nodiscard]] bool over(std::uintptr_t place) const noexcept {
    if (place >= own_low_ && place < own_high_) return true;
    return from_signal_stack_ && os::on_signal_stack(place) &&
           (!to_signal_stack_ || (place >= from_ && place < to_));
  }

 private:
  std::uintptr_t from_, to_;
  bool from_signal_stack_, to_signal_stack_;
  std::uintptr_t own_low_ = 0, own_high_ = 0;
};

void end_runs(const passed& jump) noexcept {
  for (auto** link = &site::self.replacement; *link != nullptr;) {
    auto& run = **link;
    if (jump.over(reinterpret_cast<std::uintptr_t>(&run))) {
      end_replacement(*run.what, *link, run.outer);
    } else {
      link = &run.outer;
    }
  }
}

}  // namespace

void leave_for(std::uintptr_t from, std::uintptr_t to) noexcept {
  // A handler does not switch away from its stack: whatever leads above it, or off a signal's stack, leaves
  // it.
  const auto open = epoch::open_at();
  const bool leaves_handler =
      open != 0 && open < to && (!os::on_signal_stack(to) || os::on_signal_stack(open));
  if (leaves_handler) {
    epoch::leave_all();
    site::self.in_handler = 0;
  }
  const epoch::section section;
  const bool busy = site::self.chosen != nullptr || site::self.replacement != nullptr;
  if (busy || site::self.open_calls != 0) {
    const in_handler unwind_handlers_may_run;
    settle_guest();
    const passed jump{from, to};
    // Between the hit, whose section is over, and its run.
    if (site::self.chosen != nullptr && jump.over(site::self.chosen_at)) end_chosen(*site::self.chosen);
    end_runs(jump);
    abandon_passed([&jump](std::uintptr_t place) { return jump.over(place); });
  }
  if (leaves_handler) forget_left_behind();
}

bool on_longjmp(registers& regs) noexcept {
  const auto to = arch::longjmp_target(regs.argument<std::uintptr_t>(0));
  if (to != 0) leave_for(regs.sp(), to);
  return false;
}

}  // namespace libprobe::hit
