// What the function probes cost that are reached by a trap: jprobe, retprobe, replacement, the kernel's
// uretprobe. Jumps: jumps.cpp.
#include <benchmark/benchmark.h>

#include <libprobe/libprobe.hpp>

#include "bare_breakpoint.hpp"
#include "uprobe.hpp"

extern "C" {
void target_push();
void target_return_kernel();
}

namespace {

constexpr auto trap = libprobe::probe_flags::no_jump;

void call(benchmark::State& state) {
  for (auto _ : state) target_push();
}

bool refused(benchmark::State& state, const std::error_code& why) {
  if (why) state.SkipWithError(why.message().c_str());
  return static_cast<bool>(why);
}

void bare_breakpoint(benchmark::State& state) {
  const bare_handler handler;
  for (auto _ : state) target_breakpoint();
}
BENCHMARK(bare_breakpoint)->Name("functions/bare_breakpoint");

int at_entry(libprobe::retprobe_instance&, libprobe::registers&) { return 0; }
void at_return(libprobe::retprobe_instance&, libprobe::registers&) {}
int before(libprobe::probe&, libprobe::registers&) { return 0; }
void entered() {}

/// The entry half alone: what a retprobe's hit has in common with a probe's.
void probe(benchmark::State& state) {
  libprobe::probe p{.at = target_push, .pre_handler = before, .flags = trap};
  if (!refused(state, libprobe::register_probe(p))) call(state);
}
BENCHMARK(probe)->Name("functions/probe");

void retprobe(benchmark::State& state) {
  libprobe::retprobe p{.at = target_push, .handler = at_return, .entry_handler = at_entry, .flags = trap};
  if (refused(state, libprobe::register_retprobe(p))) return;
  call(state);
  if (libprobe::nmissed(p) != 0) state.SkipWithError("calls were missed");
}
BENCHMARK(retprobe)->Name("functions/retprobe");

void jprobe(benchmark::State& state) {
  libprobe::jprobe p{
      .at = target_push, .entry = reinterpret_cast<void*>(entered), .flags = trap, .stack_bytes = 0};
  if (!refused(state, libprobe::register_jprobe(p))) call(state);
}
BENCHMARK(jprobe)->Name("functions/jprobe");

void replaced(benchmark::State& state) {
  const auto handle = libprobe::replace(
      target_push, [](auto original) { original(); }, trap);
  call(state);
}
BENCHMARK(replaced)->Name("functions/replace");

void kernel(benchmark::State& state) {
  const uprobe p{reinterpret_cast<const void*>(target_return_kernel), uprobe::kind::at_return};
  if (!p.refusal().empty()) return state.SkipWithError(p.refusal().c_str());
  for (auto _ : state) target_return_kernel();
  if (p.count() < static_cast<std::uint64_t>(state.iterations())) state.SkipWithError("hits were lost");
}
BENCHMARK(kernel)->Name("functions/uretprobe");

}  // namespace
