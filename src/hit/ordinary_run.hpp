// A run of handlers in ordinary context that is written down for the unwinder.
#pragma once

#include "epoch/epoch.hpp"
#include "hit/run.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

/// An ordinary_run that ends here or, when a handler throws, in abandon_run().
class open_run {
 public:
  [[gnu::always_inline]] explicit open_run(const registers& regs) noexcept {
    epoch::enter(run_.section, regs.sp());
    if (run_.section.renewed) forget_left_behind();
    run_.outer = site::self.run;
    site::self.run = &run_;
  }
  [[gnu::always_inline]] ~open_run() {
    site::self.run = run_.outer;
    epoch::leave(run_.section);
  }
  open_run(const open_run&) = delete;
  open_run& operator=(const open_run&) = delete;

 private:
  site::ordinary_run run_;
};

}  // namespace libprobe::hit
