// The pool of reader records, shared by the readers that claim them and the grace period that scans them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>

#include "epoch/bounds.hpp"
#include "epoch/epoch.hpp"

namespace libprobe::epoch::detail {

extern constinit reader records[record_count];      // untouched pages of it cost nothing
extern constinit atomic<std::size_t> records_used;  // records [used, count) have never been claimed

/// Those that have ever been in use.
inline std::span<reader> used_records() noexcept {
  return {records, std::min(records_used.load(std::memory_order_acquire), record_count)};
}

/// The owner word after this one: another thread's, nobody's (0), or that of one who reclaims (-1).
constexpr std::uint64_t handed_on(std::uint64_t owner, int thread) noexcept {
  return ((owner >> 32) + 1) << 32 | static_cast<std::uint32_t>(thread);
}

/// Frees the record if its thread has ended. Signal-safe.
void reclaim_if_dead(reader& record) noexcept;

}  // namespace libprobe::epoch::detail
