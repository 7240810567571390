// The workload in several connections at once, each in a thread of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "workload.hpp"

template <class F>
double seconds_of(F&& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// How many connections, and the seed of the first; the next ones follow.
struct connections {
  unsigned threads = 2;
  std::uint64_t seed = 1;
};

struct run_result {
  std::vector<workload::outcome> connections;
  double seconds = 0;

  [[nodiscard]] std::uint64_t steps() const {
    std::uint64_t sum = 0;
    for (const auto& one : connections) sum += one.steps();
    return sum;
  }
  [[nodiscard]] std::uint64_t rows_returned() const {
    std::uint64_t sum = 0;
    for (const auto& one : connections) sum += one.rows_returned;
    return sum;
  }
};

/// How far a run is, for people.
struct shown {
  std::string title;
  std::function<std::uint64_t()> hits = {};  // may be empty
  double expected = 0;                       // hits; 0: nobody knows
};

/// Each connection has its part of the rows. Throws std::runtime_error.
run_result run_connections(const connections& all, std::uint64_t rows, shown how);
