// What placing and removing probes costs, one by one and in a batch.
#include <benchmark/benchmark.h>

#include <atomic>
#include <chrono>
#include <libprobe/libprobe.hpp>
#include <span>
#include <thread>

#include "many_probes.hpp"

namespace {

using libprobe::probe;
using libprobe::registers;
using clock_type = std::chrono::steady_clock;

dense_sites& sites() {
  static dense_sites one;
  return one;
}

/// Nanoseconds that the action takes for each of `count` probes.
template <class F>
double per_probe(std::size_t count, F&& action) {
  const auto start = clock_type::now();
  action();
  return std::chrono::duration<double, std::nano>(clock_type::now() - start).count() /
         static_cast<double>(count);
}

/// ns a probe: `fresh` registers where there has never been a probe, `again` where there was one, `remove`
/// removes.
void batch(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    const auto places = sites().next(count);
    if (places.size() < count) return state.SkipWithError("the library has too few instructions");
    const many_probes some{places};
    state.counters["fresh"] = per_probe(count, [&] { must(libprobe::register_probes(some.all())); });
    libprobe::unregister_probes(some.all());
    state.counters["again"] = per_probe(count, [&] { must(libprobe::register_probes(some.all())); });
    state.counters["remove"] = per_probe(count, [&] { libprobe::unregister_probes(some.all()); });
  }
}
BENCHMARK(batch)->Arg(1000)->Arg(10'000)->Iterations(1)->Repetitions(5);

void register_each(std::span<probe* const> all) {
  for (auto* p : all) must(libprobe::register_probe(*p));
}
void unregister_each(std::span<probe* const> all) {
  for (auto* p : all) libprobe::unregister_probe(*p);
}

void one_by_one(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  for (auto _ : state) {
    const auto places = sites().next(count);
    if (places.size() < count) return state.SkipWithError("the library has too few instructions");
    const many_probes some{places};
    state.counters["fresh"] = per_probe(count, [&] { register_each(some.all()); });
    unregister_each(some.all());
    state.counters["again"] = per_probe(count, [&] { register_each(some.all()); });
    state.counters["remove"] = per_probe(count, [&] { unregister_each(some.all()); });
  }
}
BENCHMARK(one_by_one)->Arg(1000)->Arg(10'000)->Iterations(1)->Repetitions(5);

[[gnu::noinline]] void visited_all_the_time() { asm volatile("nop; nop; nop"); }

/// A thread that is as good as always inside a handler of 100 us.
class slow_handler {
 public:
  slow_handler() {
    must(libprobe::register_probe(probe_));
    thread_ = std::thread{[this] {
      while (!stop_) visited_all_the_time();
    }};
    while (libprobe::hits(probe_) == 0) std::this_thread::yield();
  }
  ~slow_handler() {
    stop_ = true;
    thread_.join();
  }
  slow_handler(const slow_handler&) = delete;
  slow_handler& operator=(const slow_handler&) = delete;

 private:
  static int spin(probe&, registers&) {
    const auto end = clock_type::now() + std::chrono::microseconds{100};
    while (clock_type::now() < end) {
    }
    return 0;
  }

  probe probe_{.at = &visited_all_the_time, .pre_handler = spin};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

/// ns a probe for removal while a handler of 100 us is always running.
void beside_slow_handler(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const slow_handler handler;
  for (auto _ : state) {
    const many_probes some{sites().next(count)};
    must(libprobe::register_probes(some.all()));
    state.counters["remove_one_by_one"] = per_probe(count, [&] { unregister_each(some.all()); });
    must(libprobe::register_probes(some.all()));
    state.counters["remove_batch"] = per_probe(count, [&] { libprobe::unregister_probes(some.all()); });
  }
}
BENCHMARK(beside_slow_handler)->Arg(1000)->Iterations(1)->Repetitions(5);

}  // namespace
