// Draws the pictures that check.py looks at: usage: draw FOLDER
#include <fstream>
#include <libprobe/libprobe.hpp>
#include <string>

#include "sqlite/workload.hpp"

namespace {

// Weights and names that a check can know: two roots, a name that XML must not see, one that is too long for
// its box.
const std::vector<libprobe::profile_stack> made_up{
    {.frames = {"main"}, .calls = 10},
    {.frames = {"main", "parse"}, .calls = 30},
    {.frames = {"main", "parse", "std::vector<int>::operator<\"&\">"}, .calls = 20},
    {.frames = {"main", "write_with_a_rather_long_name_that_does_not_fit"}, .calls = 20},
    {.frames = {"thread"}, .calls = 15},
    {.frames = {"thread", "parse"}, .calls = 5},
};

}  // namespace

int main(int /*argc*/, char** argv) {
  const std::string folder = argv[1];
  std::ofstream flames{folder + "/made_up.svg"};
  libprobe::write_flame_graph(flames, made_up, libprobe::stack_weight::calls, "Made <up>");

  workload::prepare();
  std::atomic<std::uint64_t> steps{0};
  libprobe::profiler p{{.functions = {"libsqlite3.so.0:sqlite3_*"}}};
  if (p.start()) return 1;
  workload::run(30, 1, steps);
  p.stop();
  const auto report = p.report();
  std::ofstream sqlite{folder + "/sqlite.svg"};
  libprobe::write_flame_graph(sqlite, report.call_tree, libprobe::stack_weight::self_time, "SQLite");
  for (const auto& one : report.functions) {
    if (one.function.name != "sqlite3_step") continue;
    std::ofstream latencies{folder + "/latencies.svg"};
    libprobe::write_latency_histogram(latencies, one);
    return latencies && sqlite && flames ? 0 : 1;
  }
  return 1;
}
