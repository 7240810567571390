// A count that any number of threads add to without sharing a cache line: one word for each thread.
//
// A block is a table of words: a row (one page) for each reader record, a column for each counter. Rows that
// no thread touches cost nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "arch/machine.hpp"
#include "epoch/epoch.hpp"

namespace libprobe::site {

class counter {
 public:
  static constexpr std::size_t columns = epoch::row_bytes / sizeof(std::uint64_t);

  counter() = default;
  counter(const counter&) = delete;
  counter& operator=(const counter&) = delete;

  /// Control: takes a column, or, where there is no memory for one, lets all threads share `shared`, which
  /// outlives the counter and is what the count starts from.
  void begin(std::atomic<std::uint64_t>& shared, std::uint64_t* column) noexcept {
    shared_ = &shared;
    column_ = column;
  }
  /// Control, before anything was counted: counts from 0 on.
  void move_to(std::uint64_t* column) noexcept;
  /// Control, before anything was counted: somebody else knows what the column held before.
  void count_in(std::uint64_t* column) noexcept { column_ = column; }

  /// Signal-safe. Zero for one that never began.
  [[nodiscard]] std::uint64_t total() const noexcept;

  /// The word that the calling thread adds to.
  struct place {
    std::uint64_t* word;
    bool shared;  // other threads add to it, too
  };
  [[nodiscard]] place own_place() const noexcept {
    const auto row = epoch::row_of_thread;
    if (column_ == nullptr || row == 0) return {reinterpret_cast<std::uint64_t*>(shared_), true};
    return {reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(column_) + row), false};
  }

  /// Inside a section, in any context.
  void add(std::int64_t more) noexcept {
    const auto row = epoch::row_of_thread;
    if (column_ != nullptr && row != 0) {
      arch::add_own(*reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(column_) + row), more);
    } else {
      shared_->fetch_add(static_cast<std::uint64_t>(more), std::memory_order_relaxed);
    }
  }

 private:
  std::atomic<std::uint64_t>* shared_ = nullptr;
  std::uint64_t* column_ = nullptr;
};

/// What all threads have added to a column. Signal-safe.
std::uint64_t sum_of_column(const std::uint64_t* column) noexcept;

}  // namespace libprobe::site
