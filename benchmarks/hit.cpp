// What one hit costs that comes by a trap: ours, a bare breakpoint's, the kernel's uprobe's. Jumps:
// jumps.cpp.
#include <benchmark/benchmark.h>
#include <algorithm>
#include <libprobe/libprobe.hpp>
#include <string>

#include "bare_breakpoint.hpp"
#include "uprobe.hpp"

extern "C" {
void target_push();
void target_push_kernel();
void target_load();
void target_load_kernel();
void target_nop5();
void target_nop5_kernel();
}

namespace {

using libprobe::probe;
using libprobe::probe_flags;
using libprobe::registers;

int before(probe&, registers&) { return 0; }
void after(probe&, registers&) {}

void call(benchmark::State& state, void (*target)()) {
  for (auto _ : state) target();
  state.SetItemsProcessed(state.iterations());
}

void bare_breakpoint(benchmark::State& state) {
  const bare_handler handler;
  call(state, target_breakpoint);
}

/// For several threads at once: the first sets up and tears down, between the barriers of the loop.
void bare_breakpoint_threads(benchmark::State& state) {
  static bare_handler* handler = nullptr;
  if (state.thread_index() == 0) handler = new bare_handler;
  call(state, target_breakpoint);
  if (state.thread_index() == 0) delete handler;
}

void hit(benchmark::State& state, void (*target)(), const std::string& method, probe_flags flags,
         bool with_after) {
  probe p{.at = target,
          .pre_handler = before,
          .post_handler = with_after ? after : nullptr,
          .flags = flags | probe_flags::no_jump};
  if (const auto why = libprobe::register_probe(p)) return state.SkipWithError(why.message().c_str());
  const auto rows = libprobe::list_probes();
  const auto mine =
      std::ranges::find(rows, reinterpret_cast<std::uintptr_t>(target), &libprobe::probe_row::address);
  if (mine == rows.end() || mine->method != method) return state.SkipWithError("another method is used");
  call(state, target);
  if (libprobe::hits(p) < static_cast<std::uint64_t>(state.iterations()))
    state.SkipWithError("hits were lost");
}

void hit_threads(benchmark::State& state) {
  static probe* p = nullptr;
  if (state.thread_index() == 0) {
    p = new probe{.at = target_push, .pre_handler = before, .flags = probe_flags::no_jump};
    if (const auto why = libprobe::register_probe(*p)) return state.SkipWithError(why.message().c_str());
  }
  call(state, target_push);
  if (state.thread_index() == 0) delete p;
}

void kernel(benchmark::State& state, void (*target)()) {
  const uprobe p{reinterpret_cast<const void*>(target)};
  if (!p.refusal().empty()) return state.SkipWithError(p.refusal().c_str());
  call(state, target);
  if (p.count() < static_cast<std::uint64_t>(state.iterations())) state.SkipWithError("hits were lost");
}

const bool registered = [] {
  using benchmark::RegisterBenchmark;
  const auto ours = [](const char* name, void (*target)(), const char* method, probe_flags flags,
                       bool with_after) {
    RegisterBenchmark(name, hit, target, std::string{method}, flags, with_after);
  };
  RegisterBenchmark("bare_breakpoint", bare_breakpoint);
  ours("hit/push_emulated", target_push, "emulated", probe_flags::none, false);
  ours("hit/push_emulated_post", target_push, "emulated", probe_flags::none, true);
  ours("hit/load_copied", target_load, "copied", probe_flags::none, false);
  ours("hit/load_copied_post", target_load, "copied", probe_flags::none, true);
  ours("hit/load_stepped", target_load, "single-stepped", probe_flags::single_step, false);
  ours("hit/nop5_emulated", target_nop5, "emulated", probe_flags::none, false);
  RegisterBenchmark("uprobe/push_emulated", kernel, target_push_kernel);
  RegisterBenchmark("uprobe/load_stepped", kernel, target_load_kernel);
  RegisterBenchmark("uprobe/nop5", kernel, target_nop5_kernel);
  for (const int threads : {1, 2}) {
    RegisterBenchmark("threads/bare_breakpoint", bare_breakpoint_threads)->Threads(threads)->UseRealTime();
    RegisterBenchmark("threads/hit", hit_threads)->Threads(threads)->UseRealTime();
  }
  return true;
}();

}  // namespace
