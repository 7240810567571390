// What it costs to place jumps at all functions of libsqlite3 in one call, and to take them away, while other
// threads run SQL all the time; and with nothing else going on.
#include <benchmark/benchmark.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <libprobe/libprobe.hpp>
#include <string>
#include <thread>
#include <vector>

#include "../examples/sqlite/workload.hpp"
#include "arch/arch.hpp"
#include "many_probes.hpp"
#include "symbols/symbols.hpp"
#include "tests/support/library_text.hpp"

namespace {

using clock_type = std::chrono::steady_clock;

/// The entries of all functions that the library's unwind tables know, and that may be probed: registration
/// is all or nothing.
std::vector<std::uintptr_t> entries() {
  using namespace libprobe;
  std::vector<std::uintptr_t> found;
  for (const auto& f : library_text::unwind_functions_of("libsqlite3.so.0")) {
    const auto here = arch::decode(f.code());
    if (here && arch::plan(*here, f.start, false) && symbols::probeable(f.start) == errc::ok)
      found.push_back(f.start);
  }
  return found;
}

/// Threads that run SQL as long as it lives.
class at_work {
 public:
  explicit at_work(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) threads_.emplace_back([this] { work(); });
    while (rounds_ < count) std::this_thread::yield();  // all of them know their way
  }
  ~at_work() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
  }
  at_work(const at_work&) = delete;
  at_work& operator=(const at_work&) = delete;

 private:
  void work() {
    std::atomic<std::uint64_t> steps{0};
    const auto right = workload::run(100, 1, steps).digest;
    for (++rounds_; !stop_; ++rounds_) {
      if (workload::run(100, 1, steps).digest != right) std::abort();  // no probe changes what SQL answers
    }
  }
  std::atomic<std::size_t> rounds_{0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

/// Nanoseconds a probe: by the clock, with all that the machine does meanwhile, and of the calling thread's
/// own time.
struct price {
  double clock, cpu;
};

double thread_time() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

template <class F>
price per_probe(std::size_t count, F&& action) {
  const auto start = clock_type::now();
  const auto cpu = thread_time();
  action();
  const auto each = static_cast<double>(count);
  return {std::chrono::duration<double, std::nano>(clock_type::now() - start).count() / each,
          (thread_time() - cpu) / each};
}

struct figures {
  price fresh, again, remove;
  double probes, jumps;
};

figures measure(const std::vector<std::uintptr_t>& places, std::size_t sql_threads) {
  const at_work sql{sql_threads};
  const many_probes all{places};
  figures f{};
  f.fresh = per_probe(places.size(), [&] { must(libprobe::register_probes(all.all())); });
  const auto rows = libprobe::list_probes();
  f.probes = static_cast<double>(rows.size());
  f.jumps = static_cast<double>(std::ranges::count(rows, true, &libprobe::probe_row::jump));
  libprobe::unregister_probes(all.all());
  f.again = per_probe(places.size(), [&] { must(libprobe::register_probes(all.all())); });
  f.remove = per_probe(places.size(), [&] { libprobe::unregister_probes(all.all()); });
  return f;
}

/// Each time in a process that has never had a probe.
void all_entries(benchmark::State& state) {
  static const auto places = (workload::prepare(), entries());
  for (auto _ : state) {
    int ends[2];
    if (pipe(ends) != 0) return state.SkipWithError("no pipe");
    const auto child = fork();
    if (child == 0) {
      const auto f = measure(places, static_cast<std::size_t>(state.range(0)));
      _exit(write(ends[1], &f, sizeof f) == sizeof f ? 0 : 1);
    }
    close(ends[1]);
    figures f{};
    const bool told = read(ends[0], &f, sizeof f) == sizeof f;
    close(ends[0]);
    waitpid(child, nullptr, 0);
    if (!told) return state.SkipWithError("the process under probes has died");
    const auto tell = [&state](const std::string& what, const price& paid) {
      state.counters[what] = paid.clock;
      state.counters[what + "_cpu"] = paid.cpu;
    };
    tell("fresh", f.fresh);
    tell("again", f.again);
    tell("remove", f.remove);
    state.counters["probes"] = f.probes;
    state.counters["jumps"] = f.jumps;
  }
}
BENCHMARK(all_entries)
    ->Name("jump/all_entries")
    ->ArgName("sql_threads")
    ->Arg(2)
    ->Arg(0)
    ->Iterations(1)
    ->Repetitions(5);

}  // namespace
