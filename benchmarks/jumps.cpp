// What one hit costs that comes by a jump. Goals are for what it adds to the call of the same function
// without a probe.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <memory>
#include <string>

#include "arch/arch.hpp"

extern "C" {
long target_small(long, long);
long target_small_two(long, long);
long target_small_post(long, long);
void target_over_long();
void target_punned();
void target_prefixed();
void target_over_several();
extern const char place_over_long, place_punned, place_prefixed, place_over_several;
}

namespace {

using libprobe::probe;
using libprobe::probe_flags;
using libprobe::registers;
using libprobe::arch::vector_use;

void call(benchmark::State& state, long (*target)(long, long) = target_small) {
  for (auto _ : state) benchmark::DoNotOptimize(target(1, 2));
  state.SetItemsProcessed(state.iterations());
}

/// Each benchmark shows what it says: the probe is reached as expected, and no hit is lost.
bool reached_by(benchmark::State& state, const void* address, const std::string& tactic) {
  const auto rows = libprobe::list_probes();
  const auto mine =
      std::ranges::find(rows, reinterpret_cast<std::uintptr_t>(address), &libprobe::probe_row::address);
  const bool good = mine != rows.end() && (tactic.empty() ? mine->jump : mine->tactic == tactic);
  if (good) {
    state.SetLabel(mine->tactic);
  } else {
    state.SkipWithError(mine == rows.end() ? "not listed" : (mine->tactic + ": " + mine->reason).c_str());
  }
  return good;
}
template <class Probe>
void check_hits(benchmark::State& state, const Probe& p) {
  if (libprobe::hits(p) < static_cast<std::uint64_t>(state.iterations()) || libprobe::nmissed(p) != 0)
    state.SkipWithError("hits were lost");
}
bool refused(benchmark::State& state, const std::error_code& why) {
  if (why) state.SkipWithError(why.message().c_str());
  return static_cast<bool>(why);
}

// Handlers, by what they do to the vector registers. That decides what is saved around them.
struct alignas(16) sixteen {
  char bytes[16];
};
sixteen from{}, to{};
double sum = 0, summand = 1.5;
const char* volatile text = "libprobe";
volatile std::size_t length = 0;

int uses_none(probe&, registers&) { return 0; }
int copies(probe&, registers&) {
  asm volatile("movups %1, %%xmm0; movups %%xmm0, %0" : "=m"(to) : "m"(from) : "xmm0");
  return 0;
}
int adds(probe&, registers&) {
  sum += summand;
  return 0;
}
int calls_libc(probe&, registers&) {
  length = std::strlen(text);
  return 0;
}
void after(probe&, registers&) {}

struct handlers {
  int (*before)(probe&, registers&) = uses_none;
  void (*after)(probe&, registers&) = nullptr;
  vector_use::level most = vector_use::nothing;
  bool arithmetic = false;
};

/// A detour that comes back behind the instruction is another one: places that had either keep their tactic,
/// so that repetitions in any order measure the same.
void hit(benchmark::State& state, const handlers& what, probe_flags flags) {
  const auto target = what.after != nullptr ? target_small_post : target_small;
  const auto use = libprobe::arch::vectors_used_by(reinterpret_cast<std::uintptr_t>(what.before));
  if (use.most() != what.most || use.arithmetic() != what.arithmetic)
    return state.SkipWithError("the handler was compiled to something else");
  probe p{.at = target, .pre_handler = what.before, .post_handler = what.after, .flags = flags};
  if (refused(state, libprobe::register_probe(p))) return;
  const bool trap = libprobe::any(flags & probe_flags::no_jump);
  if (!reached_by(state, libprobe::address_of(p), trap ? "breakpoint" : "")) return;
  call(state, target);
  check_hits(state, p);
}

/// A probe that rests: the text is the program's own.
void disabled(benchmark::State& state) {
  probe p{.at = target_small, .pre_handler = uses_none};
  if (refused(state, libprobe::register_probe(p)) || refused(state, libprobe::disable_probe(p))) return;
  call(state);
  if (libprobe::hits(p) != 0) state.SkipWithError("a disabled probe was hit");
}

int at_entry(libprobe::retprobe_instance&, registers&) { return 0; }
void at_return(libprobe::retprobe_instance&, registers&) {}
void retprobe(benchmark::State& state, probe_flags flags) {
  libprobe::retprobe p{.at = target_small, .handler = at_return, .entry_handler = at_entry, .flags = flags};
  if (refused(state, libprobe::register_retprobe(p))) return;
  if (!reached_by(state, libprobe::address_of(p), "")) return;
  call(state);
  check_hits(state, p);
}

void entered(long, long) {}
void jprobe(benchmark::State& state) {
  libprobe::jprobe p{.at = target_small, .entry = reinterpret_cast<void*>(entered), .stack_bytes = 0};
  if (refused(state, libprobe::register_jprobe(p))) return;
  if (!reached_by(state, libprobe::address_of(p), "")) return;
  call(state);
  check_hits(state, p);
}

void replaced(benchmark::State& state, probe_flags flags) {
  const auto handle = libprobe::replace(
      target_small, [](auto original, long a, long b) { return original(a, b); }, flags);
  if (!reached_by(state, handle.address(), "")) return;
  call(state);
}

/// Actions that call nobody.
void counts(benchmark::State& state) {
  libprobe::counter c{.at = target_small};
  if (refused(state, libprobe::register_counter(c))) return;
  if (!reached_by(state, libprobe::address_of(c), "")) return;
  call(state);
  check_hits(state, c);
}
void measures_latency(benchmark::State& state) {
  libprobe::latency l{.at = target_small};
  if (refused(state, libprobe::register_latency(l))) return;
  if (!reached_by(state, libprobe::address_of(l), "")) return;
  call(state);
  check_hits(state, l);
  if (libprobe::latencies_of(l).count() != libprobe::hits(l)) state.SkipWithError("calls are in no bucket");
}

/// In the middle of a function, where that tactic is the first that fits.
void middle(benchmark::State& state, void (*target)(), const void* place, const char* tactic) {
  probe p{.at = place, .pre_handler = uses_none};
  if (refused(state, libprobe::register_probe(p)) || !reached_by(state, place, tactic)) return;
  for (auto _ : state) target();
  check_hits(state, p);
}
void middle_unprobed(benchmark::State& state, void (*target)()) {
  for (auto _ : state) target();
}

/// Several threads, each at `targets[n]`; the first sets up and tears down, between the barriers of the loop.
void threads(benchmark::State& state, bool probed, bool apart) {
  static std::unique_ptr<probe> probes[2];
  static constexpr decltype(&target_small) targets[] = {target_small, target_small_two};
  if (state.thread_index() == 0 && probed) {
    for (const int i : {0, 1}) {
      probes[i] = std::make_unique<probe>();
      probes[i]->at = targets[i];
      probes[i]->pre_handler = uses_none;
      if (refused(state, libprobe::register_probe(*probes[i]))) return;
      if (!reached_by(state, libprobe::address_of(*probes[i]), "")) return;
    }
  }
  call(state, targets[apart ? state.thread_index() : 0]);
  if (state.thread_index() == 0 && probed) {
    for (auto& p : probes) p.reset();
  }
}

/// Several threads, each in followed calls of one function.
void threads_followed(benchmark::State& state) {
  static std::unique_ptr<libprobe::retprobe> followed;
  if (state.thread_index() == 0) {
    followed = std::make_unique<libprobe::retprobe>();
    followed->at = target_small;
    followed->handler = [](libprobe::retprobe_instance&, libprobe::registers&) {};
    if (refused(state, libprobe::register_retprobe(*followed))) return;
  }
  call(state, target_small);
  if (state.thread_index() == 0) followed.reset();
}

const bool registered = [] {
  using benchmark::RegisterBenchmark;
  RegisterBenchmark("jump/unprobed", [](benchmark::State& state) { call(state); });
  RegisterBenchmark("jump/general_regs_only", hit, handlers{}, probe_flags::general_regs_only);
  RegisterBenchmark("jump/uses_none", hit, handlers{}, probe_flags::none);
  RegisterBenchmark("jump/copies", hit, handlers{copies, nullptr, vector_use::low_halves}, probe_flags::none);
  RegisterBenchmark("jump/adds", hit, handlers{adds, nullptr, vector_use::low_halves, true},
                    probe_flags::none);
  RegisterBenchmark("jump/calls_libc", hit, handlers{calls_libc, nullptr, vector_use::every_file, true},
                    probe_flags::none);
  RegisterBenchmark("jump/post_handler", hit, handlers{uses_none, after}, probe_flags::none);
  RegisterBenchmark("jump/no_jump", hit, handlers{}, probe_flags::no_jump);
  RegisterBenchmark("jump/disabled", disabled);
  RegisterBenchmark("jump/retprobe_general_regs_only", retprobe, probe_flags::general_regs_only);
  RegisterBenchmark("jump/retprobe", retprobe, probe_flags::none);
  RegisterBenchmark("jump/jprobe", jprobe);
  RegisterBenchmark("jump/replace", replaced, probe_flags::none);
  RegisterBenchmark("jump/replace_standard_abi", replaced, probe_flags::standard_abi);
  RegisterBenchmark("jump/counter", counts);
  RegisterBenchmark("jump/latency", measures_latency);

  const auto at = [](const std::string& tactic, void (*target)(), const void* place) {
    RegisterBenchmark(("jump/middle_unprobed/" + tactic).c_str(), middle_unprobed, target);
    RegisterBenchmark(("jump/middle/" + tactic).c_str(),
                      [=](benchmark::State& state) { middle(state, target, place, tactic.c_str()); });
  };
  at("over_long", target_over_long, &place_over_long);
  at("punned", target_punned, &place_punned);
  at("prefixed", target_prefixed, &place_prefixed);
  at("over_several", target_over_several, &place_over_several);

  for (const int count : {1, 2}) {
    RegisterBenchmark("jump/threads_unprobed", threads, false, false)->Threads(count)->UseRealTime();
    RegisterBenchmark("jump/threads", threads, true, false)->Threads(count)->UseRealTime();
    RegisterBenchmark("jump/threads_apart", threads, true, true)->Threads(count)->UseRealTime();
    RegisterBenchmark("jump/threads_followed", threads_followed)->Threads(count)->UseRealTime();
  }
  return true;
}();

}  // namespace
