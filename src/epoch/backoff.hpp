// How writers wait for readers.
#pragma once

#include <time.h>

#include <algorithm>

#include "arch/machine.hpp"
#include "os/raw.hpp"

namespace libprobe::epoch {

/// Waits ever longer: handlers are short as a rule, and a grace period should not burn a core when they are
/// not.
class backoff {
 public:
  void wait() noexcept {
    if (round_ < spins) {
      for (int i = 0; i < 32; ++i) arch::cpu_relax();
    } else {
      const auto excess = std::min(round_ - spins, 6U);
      const timespec pause{0, 10'000L << excess};  // 10 us to 640 us
      os::raw::sleep(pause);
    }
    ++round_;
  }
  /// After a while it is worth asking whether the one we wait for is still alive.
  [[nodiscard]] bool long_since() const noexcept { return round_ > spins + 8; }

 private:
  static constexpr unsigned spins = 64;
  unsigned round_ = 0;
};

}  // namespace libprobe::epoch
