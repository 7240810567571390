// The pool of reader records, shared by the readers that claim them and the grace period that scans them.
#pragma once

#include <cstddef>

#include "epoch/epoch.hpp"

namespace libprobe::epoch::detail {

inline constexpr std::size_t record_count = 16384;  // threads at once; more of them share one counter

extern constinit reader records[record_count];           // untouched pages of it cost nothing
extern constinit std::atomic<std::size_t> records_used;  // records [used, count) have never been claimed

/// Frees the record if its thread has ended. Signal-safe.
void reclaim_if_dead(reader& record) noexcept;

}  // namespace libprobe::epoch::detail
