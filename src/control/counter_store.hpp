// Columns for counters, and ledgers that count in them.
#pragma once

#include <cstdint>
#include <memory>

#include "site/ledger.hpp"

namespace libprobe::control {

/// A column that nobody else counts in, with whatever its last user left in it; null where there is no
/// memory: then threads share a counter. Given back when it dies: after a grace period. Any thread.
using counter_column = std::unique_ptr<std::uint64_t, void (*)(std::uint64_t*)>;
counter_column take_column() noexcept;

/// A ledger that has no user yet, open, with a column of its own if there is memory for one.
/// Throws std::bad_alloc. Any thread.
site::ledger_ptr take_ledger();
void give_ledger(site::ledger* mine) noexcept;
/// Nothing is counted in it any more: its total is certain, and its column somebody else's.
void close(site::ledger& mine) noexcept;

}  // namespace libprobe::control
