// How long do calls of sqlite3_step take: not on average, but all of them?
#include <fstream>
#include <iostream>
#include <libprobe/libprobe.hpp>

#include "sqlite/workload.hpp"

int main(int argc, char** argv) {
  const char* const file = argc > 1 ? argv[1] : "latency_histogram.svg";
  std::atomic<std::uint64_t> steps{0};
  workload::prepare();

  libprobe::profiler profiler{{.functions = {"libsqlite3.so.0:sqlite3_step"}}};
  if (const auto error = profiler.start()) {
    std::cerr << "refused: " << error.message() << '\n';
    return 1;
  }
  workload::run(2000, 1, steps);
  profiler.stop();

  const auto step = profiler.report().functions.at(0);
  for (const double q : {0.5, 0.9, 0.99, 0.999}) {
    std::cout << 100 * q << " % of the calls took at most " << step.latencies.quantile(q) << " ns\n";
  }
  std::ofstream picture{file};
  libprobe::write_latency_histogram(picture, step);
  return picture && step.calls >= steps ? 0 : 1;  // SQLite calls it, too
}
