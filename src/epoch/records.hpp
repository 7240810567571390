// The pool of reader records, shared by the readers that claim them and the grace period that scans them.
#pragma once

#include <array>
#include <cstddef>

#include "epoch/epoch.hpp"

namespace libprobe::epoch::detail {

inline constexpr std::size_t record_count = 16384;  // threads at once; more of them share one counter

struct record_pool {
  std::array<reader, record_count> records;
  std::atomic<std::size_t> used{0};  // records [used, count) have never been claimed
};
extern constinit record_pool pool;  // untouched pages of it cost nothing

/// Frees the record if its thread has ended. Signal-safe.
void reclaim_if_dead(reader& record) noexcept;

}  // namespace libprobe::epoch::detail
