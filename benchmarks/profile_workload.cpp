// The workload of profile.cpp for tools that start a program: prints the median of its runs in seconds.
// usage: profile_workload ROWS RUNS
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../examples/sqlite/workload.hpp"

int main(int /*argc*/, char** argv) {
  using std::chrono::steady_clock;
  mallopt(M_TRIM_THRESHOLD, 64 << 20);  // as in profile.cpp
  workload::prepare();
  std::vector<double> seconds(std::strtoul(argv[2], nullptr, 10));
  for (auto& one : seconds) {
    std::atomic<std::uint64_t> steps{0};
    const auto begin = steady_clock::now();
    workload::run(std::strtoul(argv[1], nullptr, 10), 1, steps);
    one = std::chrono::duration<double>(steady_clock::now() - begin).count();
  }
  std::ranges::sort(seconds);
  std::printf("%.9f\n", seconds.at(seconds.size() / 2));
}
