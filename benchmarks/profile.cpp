// What a profile of a library at work costs: SQLite's own workload without probes, counted, timed; and under
// uftrace, perf and the kernel's uprobes where the machine has them.
#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <malloc.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <libprobe/libprobe.hpp>
#include <memory>
#include <string>
#include <vector>

#include "../examples/sqlite/workload.hpp"
#include "profile/session.hpp"
#include "uprobe.hpp"

namespace {

constexpr std::uint64_t rows = 100;

void work() {
  std::atomic<std::uint64_t> steps{0};
  benchmark::DoNotOptimize(workload::run(rows, 1, steps));
}

// malloc would give memory back to the kernel and ask for it again in some runs and not in others.
[[maybe_unused]] const bool prepared =
    (mallopt(M_TRIM_THRESHOLD, 64 << 20), workload::prepare(), work(), true);

void unprobed(benchmark::State& state) {
  for (auto _ : state) work();
}
BENCHMARK(unprobed)->Name("profile/unprobed");

void profiled(benchmark::State& state, libprobe::profile_options options) {
  libprobe::profiler p{std::move(options)};
  if (const auto error = p.start()) return state.SkipWithError(error.message().c_str());
  for (auto _ : state) work();
  p.stop();
  const auto report = p.report();
  std::uint64_t calls = 0;
  for (const auto& one : report.functions) calls += one.calls;
  state.counters["calls"] =
      benchmark::Counter(static_cast<double>(calls), benchmark::Counter::kAvgIterations);
  if (report.losses.missed + report.losses.untimed != 0) state.SkipWithError("calls were lost");
}

// What the program may call, and whatever the library exports for itself, too.
const std::vector<std::string> interface { "libsqlite3.so.0:sqlite3_*" };
const std::vector<std::string> everything{"libsqlite3.so.0:*"};
using enum libprobe::profile_detail;

BENCHMARK_CAPTURE(profiled, count_interface, {.functions = interface, .detail = calls})
    ->Name("profile/count_interface");
BENCHMARK_CAPTURE(profiled, time_interface, {.functions = interface, .detail = times})
    ->Name("profile/time_interface");
BENCHMARK_CAPTURE(profiled, count, {.functions = everything, .detail = calls})->Name("profile/count");
BENCHMARK_CAPTURE(profiled, time, {.functions = everything, .detail = times})->Name("profile/time");
BENCHMARK_CAPTURE(profiled, sample, {.functions = {"libc.so.6:malloc"}, .sample_every = 100})
    ->Name("profile/malloc_stacks");

/// The profiler's own part of a timed call, without the probe that runs it: two readings of the clock, and
/// the bookkeeping.
void handlers(benchmark::State& state) {
  using namespace libprobe;
  struct {
    retprobe_instance call;
    profile::mark data;
  } instance{};
  profile::session shared{profile::clock{true}};
  shared.id = ~std::uint64_t{0};
  shared.room = {.functions = 1, .nodes = 100};
  profile::chosen function{&shared, 0, {}};
  retprobe p{};
  p.context = &function;
  instance.call.state_.probe = &p;
  registers regs{};
  for (auto _ : state) {
    profile::entered(instance.call, regs);
    profile::returned(instance.call, regs);
  }
}
BENCHMARK(handlers)->Name("profile/handlers");

/// What is in that for any profiler: the clock is read where a call begins, and where it ends.
void clock_twice(benchmark::State& state) {
  const libprobe::profile::clock timer{true};
  for (auto _ : state) {
    benchmark::DoNotOptimize(timer.now());
    benchmark::DoNotOptimize(timer.now());
  }
}
BENCHMARK(clock_twice)->Name("profile/clock_twice");

/// A profiler that is stopped.
void off(benchmark::State& state) {
  libprobe::profiler p{{.functions = everything}};
  if (const auto error = p.start()) return state.SkipWithError(error.message().c_str());
  work();
  p.stop();
  for (auto _ : state) work();
}
BENCHMARK(off)->Name("profile/off");

// A handful only: the kernel takes 80 ms to take away each.
void few(benchmark::State& state) {
  std::vector<std::string> names;
  for (const auto name : workload::call_names) names.push_back("libsqlite3.so.0:" + std::string{name});
  profiled(state, {.functions = names, .detail = calls});
}
BENCHMARK(few)->Name("profile/count_13");

void few_uprobes(benchmark::State& state) {
  std::vector<std::unique_ptr<uprobe>> probes;
  for (const auto name : workload::call_names) {
    probes.push_back(std::make_unique<uprobe>(dlsym(RTLD_DEFAULT, std::string{name}.c_str())));
    if (!probes.back()->refusal().empty()) return state.SkipWithError(probes.back()->refusal().c_str());
  }
  for (auto _ : state) work();
}
BENCHMARK(few_uprobes)->Name("profile/uprobe_13")->Repetitions(1);

/// The workload in a program of its own, under a tool that starts it: seconds that a run takes there.
void under(benchmark::State& state, const std::string& tool) {
  char folder[] = "/tmp/libprobe-profile-XXXXXX";
  if (mkdtemp(folder) == nullptr) return state.SkipWithError("no temporary folder");
  for (auto _ : state) {
    const auto command = "cd " + std::string{folder} + " && " + tool + " " PROFILE_WORKLOAD " " +
                         std::to_string(rows) + " 20 2>log";
    double seconds = 0;
    if (FILE* const output = popen(command.c_str(), "r")) {
      if (std::fscanf(output, "%lf", &seconds) != 1) seconds = 0;
      while (std::fgetc(output) != EOF) {  // the tool's own words
      }
      if (pclose(output) != 0) seconds = 0;
    }
    if (seconds == 0) {
      state.SkipWithError("does not run here");
      break;
    }
    state.SetIterationTime(seconds);
  }
  std::filesystem::remove_all(folder);
}
#define UNDER(name, tool) \
  BENCHMARK_CAPTURE(under, name, tool)->Name("profile/" #name)->UseManualTime()->Iterations(1)
UNDER(alone, "");
UNDER(uftrace_interface, "uftrace record --no-sched -P 'sqlite3_.*@libsqlite3.so.0'");
UNDER(uftrace, "uftrace record --no-sched -P '.*@libsqlite3.so.0'");
UNDER(perf, "perf record -q -o data -g -e cpu-clock -F 1000");

}  // namespace
