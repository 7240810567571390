// How long each torture lasts.
#pragma once

#include <chrono>
#include <cstdlib>
#include <thread>

namespace libprobe::test {

/// LIBPROBE_TORTURE_SECONDS, 5 without it.
inline std::chrono::duration<double> torture_time() {
  const char* const wanted = std::getenv("LIBPROBE_TORTURE_SECONDS");
  return std::chrono::duration<double>{wanted != nullptr ? std::atof(wanted) : 5.0};
}

/// True until the time is over.
class until_time_is_over {
 public:
  explicit operator bool() const { return std::chrono::steady_clock::now() < end_; }

 private:
  std::chrono::steady_clock::time_point end_ =
      std::chrono::steady_clock::now() +
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(torture_time());
};

}  // namespace libprobe::test
