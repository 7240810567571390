// Which functions of SQLite take the time, and who called them? Every function that the library exports is
// profiled while an unmodified program's SQL runs; the result is a table, and a flame graph to click through.
#include <fstream>
#include <iostream>
#include <libprobe/libprobe.hpp>

#include "sqlite/workload.hpp"

int main(int argc, char** argv) {
  const char* const file = argc > 1 ? argv[1] : "flame_graph.svg";
  std::atomic<std::uint64_t> steps{0};
  workload::prepare();

  libprobe::profiler profiler{
      {.functions = {"libsqlite3.so.0:sqlite3*"}, .except = {"libsqlite3.so.0:sqlite3_mutex_*"}}};
  if (const auto error = profiler.start()) {
    std::cerr << "refused: " << error.message() << '\n';
    return 1;
  }
  workload::run(300, 1, steps);
  profiler.stop();

  const auto report = profiler.report();
  libprobe::write_table(std::cout, report, 15);
  std::ofstream picture{file};
  libprobe::write_flame_graph(picture, report.call_tree, libprobe::stack_weight::self_time, "SQLite at work");
  return picture && !report.call_tree.empty() ? 0 : 1;
}
