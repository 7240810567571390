// In the place of src/epoch/backoff.hpp: the model's threads wait for a change.
#pragma once

#include "interleavings/model.hpp"

namespace libprobe::epoch {

class backoff {
 public:
  /// Each wait is a long one. The second look comes at once: what was asked after the first may have helped,
  /// and that is no change by another thread.
  void wait() noexcept {
    if (looked_) model::spin();
    looked_ = true;
  }
  [[nodiscard]] bool long_since() const noexcept { return true; }

 private:
  bool looked_ = false;
};

}  // namespace libprobe::epoch
