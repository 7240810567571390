// How long removal takes: one by one and in a batch, beside a load or not.
#pragma once

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <libprobe/libprobe.hpp>
#include <span>
#include <stop_token>
#include <string_view>
#include <thread>
#include <vector>

#include "connections.hpp"
#include "text.hpp"
#include "watched.hpp"
#include "workload.hpp"

struct removal_times {
  double one_by_one = 0;
  double registering = 0;
  double batch = 0;
};

/// The probes are registered. `settle` is called before each part.
template <class F>
removal_times time_removal(std::span<libprobe::probe* const> probes, F&& settle) {
  removal_times times;
  settle();
  times.one_by_one = seconds_of([&] {
    for (auto* p : probes) libprobe::unregister_probe(*p);
  });
  settle();
  times.registering = seconds_of([&] { must(libprobe::register_probes(probes), "registering again"); });
  settle();
  times.batch = seconds_of([&] { libprobe::unregister_probes(probes); });
  return times;
}

inline void print_removal(std::string_view when, std::size_t count, const removal_times& times) {
  const auto line = [&](std::string_view what, double all) {
    fmt::print("  {:<16} {:<26} {:>10}  {:>10} each\n", when, what, text::duration(all),
               text::duration(all / static_cast<double>(count)));
  };
  line("registered in one batch", times.registering);
  line("removed one by one", times.one_by_one);
  line("removed in one batch", times.batch);
  fmt::print("  {:<16} the batch removes {:.0f} times faster\n", when, times.one_by_one / times.batch);
}

/// Small runs, again and again, while probes come and go.
class background_load {
 public:
  background_load(const connections& all, std::uint64_t all_rows, const run_result& expected) {
    const auto rows = all_rows / all.threads;
    for (unsigned i = 0; i < all.threads; ++i) {
      threads_.emplace_back([this, rows, seed = all.seed + i,
                             digest = expected.connections[i].digest](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          if (workload::run(rows, seed, steps_).digest != digest) wrong_.fetch_add(1);
          runs_.fetch_add(1);
        }
      });
    }
  }
  /// Returns when the load has come on by some steps, or after a while: under thousands of probes a single
  /// step may take seconds.
  void wait_for_work() const {
    constexpr std::uint64_t some = 500;
    constexpr std::chrono::milliseconds a_while{500};
    const auto until = steps_.load() + some;
    const auto latest = std::chrono::steady_clock::now() + a_while;
    while (steps_.load() < until && std::chrono::steady_clock::now() < latest)
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  /// Ends the load.
  void stop() { threads_.clear(); }
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }
  [[nodiscard]] std::uint64_t wrong() const noexcept { return wrong_; }

 private:
  std::atomic<std::uint64_t> steps_{0};
  std::atomic<std::uint64_t> runs_{0};
  std::atomic<std::uint64_t> wrong_{0};
  std::vector<std::jthread> threads_;
};
