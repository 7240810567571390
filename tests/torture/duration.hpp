// How long each torture lasts.
#pragma once

#include <chrono>
#include <cstdlib>
#include <thread>

namespace libprobe::test {

/// LIBPROBE_TORTURE_SECONDS, 2 without it.
inline std::chrono::duration<double> torture_time() {
  const char* const wanted = std::getenv("LIBPROBE_TORTURE_SECONDS");
  return std::chrono::duration<double>{wanted != nullptr ? std::atof(wanted) : 2.0};
}

/// True until the time is over, or so many times as much.
class until_time_is_over {
 public:
  explicit until_time_is_over(int times = 1) : end_{end_in(times * torture_time())} {}
  explicit operator bool() const { return std::chrono::steady_clock::now() < end_; }

 private:
  using clock = std::chrono::steady_clock;
  static clock::time_point end_in(std::chrono::duration<double> time) {
    return clock::now() + std::chrono::duration_cast<clock::duration>(time);
  }

  clock::time_point end_;
};

}  // namespace libprobe::test
