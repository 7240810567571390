// A run of handlers in ordinary context that is written down for the unwinder.
#pragma once

#include "epoch/epoch.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

/// An ordinary_run that ends here or, when a handler throws, in abandon_run().
class open_run {
 public:
  open_run() noexcept {
    run_.section = epoch::enter();
    run_.outer = site::self.run;
    site::self.run = &run_;
  }
  ~open_run() {
    site::self.run = run_.outer;
    epoch::leave(run_.section);
  }
  open_run(const open_run&) = delete;
  open_run& operator=(const open_run&) = delete;
  site::ordinary_run* operator->() noexcept { return &run_; }

 private:
  site::ordinary_run run_;
};

}  // namespace libprobe::hit
