#include "profile/clock.hpp"

#include <fstream>
#include <string>

namespace libprobe::profile {

namespace {

// The kernel's word for it: constant_tsc, at one rate; nonstop_tsc, in deep sleep too.
bool ask_kernel() {
#if __has_builtin(__builtin_ia32_rdtsc)
  std::ifstream cpus{"/proc/cpuinfo"};
  for (std::string line; std::getline(cpus, line);) {
    if (!line.starts_with("flags")) continue;
    line += ' ';
    return line.find(" constant_tsc ") != std::string::npos &&
           line.find(" nonstop_tsc ") != std::string::npos;
  }
#endif
  return false;
}

}  // namespace

bool counter_is_invariant() {
  static const bool known = ask_kernel();
  return known;
}

// The reading of the clock that took least time is least uncertain.
calibration::pair calibration::read() const noexcept {
  pair best{};
  std::uint64_t shortest = ~std::uint64_t{0};
  for (int i = 0; i < 8; ++i) {
    const auto before = of_.now();
    const auto ns = monotonic_ns();
    const auto after = of_.now();
    if (after - before >= shortest) continue;
    shortest = after - before;
    best = {before + shortest / 2, ns};
  }
  return best;
}

double calibration::ns_per_tick() const noexcept {
  if (!of_.counts()) return 1;
  constexpr std::uint64_t long_enough = 1'000'000;
  auto end = read();
  while (end.ns - begin_.ns < long_enough) end = read();
  return static_cast<double>(end.ns - begin_.ns) / static_cast<double>(end.ticks - begin_.ticks);
}

}  // namespace libprobe::profile
