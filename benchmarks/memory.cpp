// What probes occupy.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <libprobe/libprobe.hpp>

#include "many_probes.hpp"
#include "site/slots.hpp"

namespace {

double heap_bytes() {
  const auto now = mallinfo2();
  return static_cast<double>(now.uordblks + now.hblkhd);
}
double code_bytes() {
  double bytes = 0;
  libprobe::site::chunks.for_each(
      [&bytes](const auto& chunk) { bytes += static_cast<double>(chunk.used * libprobe::arch::slot_unit); });
  return bytes;
}

/// Bytes a probe, in a process that has had none before: the tables that grow with them are counted.
void memory(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  dense_sites sites;
  for (auto _ : state) {
    const many_probes some{sites.next(count)};
    const auto heap = heap_bytes();
    const auto code = code_bytes();
    must(libprobe::register_probes(some.all()));
    state.counters["heap"] = (heap_bytes() - heap) / static_cast<double>(count);
    state.counters["code"] = (code_bytes() - code) / static_cast<double>(count);
    state.counters["object"] = sizeof(libprobe::probe);
    libprobe::unregister_probes(some.all());
  }
}
BENCHMARK(memory)->Arg(10'000)->Iterations(1)->Repetitions(1);

}  // namespace
