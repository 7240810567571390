// Columns for counters.
#pragma once

#include <cstdint>
#include <memory>

namespace libprobe::control {

/// A column that nobody else counts in, with whatever its last user left in it; null where there is no
/// memory: then threads share a counter. Given back when it dies: after a grace period. Any thread.
using counter_column = std::unique_ptr<std::uint64_t, void (*)(std::uint64_t*)>;
counter_column take_column() noexcept;

}  // namespace libprobe::control
