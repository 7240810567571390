// Who allocates how much? One malloc in about 20 tells its stack and its size; the flame graph's boxes are as
// wide as the bytes that were asked for from there.
#include <algorithm>
#include <fstream>
#include <iostream>
#include <libprobe/libprobe.hpp>

#include "sqlite/workload.hpp"

namespace {

std::uint64_t bytes(const libprobe::function_info& /*malloc*/, const libprobe::registers& regs) {
  return regs.argument<std::size_t>(0);
}

}  // namespace

int main(int argc, char** argv) {
  const char* const file = argc > 1 ? argv[1] : "allocations.svg";
  std::atomic<std::uint64_t> steps{0};
  workload::prepare();

  libprobe::profiler profiler{{.functions = {"libc.so.6:malloc"}, .sample_every = 20, .value = bytes}};
  if (const auto error = profiler.start()) {
    std::cerr << "refused: " << error.message() << '\n';
    return 1;
  }
  workload::run(2000, 1, steps);
  profiler.stop();

  auto report = profiler.report();
  std::cout << report.functions.at(0).calls << " calls of malloc; the places that asked for most:\n";
  std::ranges::sort(report.samples, std::greater{}, &libprobe::profile_stack::value);
  for (std::size_t i = 0; i < std::min<std::size_t>(5, report.samples.size()); ++i) {
    const auto& frames = report.samples[i].frames;
    std::cout << "  about " << report.samples[i].value << " bytes from";
    for (std::size_t caller = 2; caller <= std::min<std::size_t>(5, frames.size()); ++caller) {
      std::cout << ' ' << frames[frames.size() - caller];
    }
    std::cout << '\n';
  }
  std::ofstream picture{file};
  libprobe::write_flame_graph(picture, report.samples, libprobe::stack_weight::value,
                              "Bytes asked of malloc");
  return picture && !report.samples.empty() ? 0 : 1;
}
