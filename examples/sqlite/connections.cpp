#include "connections.hpp"

#include <fmt/format.h>

#include <stdexcept>
#include <thread>

#include "progress.hpp"

run_result run_connections(const connections& all, std::uint64_t rows, shown how) {
  std::atomic<std::uint64_t> steps{0};
  const progress bar{std::move(how.title), steps, std::move(how.hits), how.expected};
  run_result done;
  done.connections.resize(all.threads);
  std::vector<std::string> errors(all.threads);
  done.seconds = seconds_of([&] {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < all.threads; ++i) {
      threads.emplace_back([&, i] {
        try {
          done.connections[i] = workload::run(rows / all.threads, all.seed + i, steps);
        } catch (const std::exception& failure) {
          errors[i] = failure.what();
        }
      });
    }
  });
  for (const auto& error : errors) {
    if (!error.empty()) throw std::runtime_error{error};
  }
  return done;
}
