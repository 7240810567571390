// A SQL workload with a digest over every row that it returns.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace workload {

/// The functions of SQLite that the workload itself calls, so that its own count can be held against a
/// probe's.
enum class call : std::size_t {
  prepare,
  step,
  reset,
  finalize,
  bind_int64,
  bind_double,
  bind_text,
  column_count,
  column_type,
  column_int64,
  column_double,
  column_text,
  column_bytes,
};
inline constexpr std::string_view call_names[] = {
    "sqlite3_prepare_v2",   "sqlite3_step",         "sqlite3_reset",         "sqlite3_finalize",
    "sqlite3_bind_int64",   "sqlite3_bind_double",  "sqlite3_bind_text",     "sqlite3_column_count",
    "sqlite3_column_type",  "sqlite3_column_int64", "sqlite3_column_double", "sqlite3_column_text",
    "sqlite3_column_bytes",
};

struct outcome {
  std::uint64_t digest = 0;
  std::uint64_t rows_returned = 0;
  std::array<std::uint64_t, std::size(call_names)> calls{};

  [[nodiscard]] std::uint64_t steps() const { return calls[static_cast<std::size_t>(call::step)]; }
};

/// Before the first run.
void prepare();

/// Creates a database in memory, fills it with `rows` orders, and puts all kinds of SQL to it. The same
/// arguments give the same outcome. `progress` counts the calls of sqlite3_step as they happen. Throws
/// std::runtime_error when SQLite reports an error.
outcome run(std::uint64_t rows, std::uint64_t seed, std::atomic<std::uint64_t>& progress);

}  // namespace workload
