// What a long run under probes will take, from what short ones took. Figures alone: nothing here runs
// anything.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace budget {

/// Hits by how they come about: a jump costs a tenth of a microsecond, a trap one and more. Probes at the
/// entries of functions are jumps; where every instruction has one they crowd each other, and many are traps.
struct hit_counts {
  double by_jump = 0;
  double by_trap = 0;

  [[nodiscard]] double all() const noexcept { return by_jump + by_trap; }
  friend hit_counts operator*(hit_counts one, double times) noexcept {
    return {one.by_jump * times, one.by_trap * times};
  }
};

/// Seconds for a hit, beyond the program's own work, with all threads at it.
struct prices {
  double of_jump = 0;
  double of_trap = 0;

  [[nodiscard]] double cost(hit_counts of) const noexcept {
    return of.by_jump * of_jump + of.by_trap * of_trap;
  }
};

/// What a run told: how long it took, how long it would have without probes, and the hits.
struct trial {
  double seconds = 0;
  double unprobed = 0;
  hit_counts hits;
};

/// Of a run whose hits are nearly all jumps, and of one that has many traps.
inline prices measured(const trial& entries, const trial& instructions) noexcept {
  const auto a_hit = [](double seconds, double hits) { return hits > 0 ? std::max(0.0, seconds) / hits : 0; };
  prices now;
  now.of_jump = a_hit(entries.seconds - entries.unprobed, entries.hits.all());
  const auto beyond = instructions.seconds - instructions.unprobed;
  now.of_trap = a_hit(beyond - instructions.hits.by_jump * now.of_jump, instructions.hits.by_trap);
  // Too few traps to tell them apart from what else there was.
  if (instructions.hits.by_trap < instructions.hits.by_jump / 10 || now.of_trap < now.of_jump)
    now.of_jump = now.of_trap = a_hit(beyond, instructions.hits.all());
  return now;
}

/// A run with the very probes of the long one.
struct rehearsal {
  double rows = 0;
  double seconds = 0;
  double hits = 0;
};

/// From two rehearsals of different lengths. Hits are the same on every machine and grow with the rows,
/// beyond those of a run without any; each costs what one cost in the longer rehearsal.
class promise {
 public:
  promise(const rehearsal& shorter, const rehearsal& longer) noexcept : longer_{longer} {
    if (longer.rows > shorter.rows)
      hits_a_row_ = std::max(0.0, (longer.hits - shorter.hits) / (longer.rows - shorter.rows));
    a_hit_ = longer.hits > 0 ? longer.seconds / longer.hits : 0;
  }

  [[nodiscard]] double hits(double rows) const noexcept {
    return std::max(0.0, longer_.hits + (rows - longer_.rows) * hits_a_row_);
  }
  [[nodiscard]] double seconds(double rows) const noexcept { return hits(rows) * a_hit_; }

  /// How many rows take no longer than that; not fewer than the longer rehearsal had, nor more than `most`.
  [[nodiscard]] std::uint64_t rows_within(double seconds, std::uint64_t most) const noexcept {
    const auto a_row = hits_a_row_ * a_hit_;
    const auto more = a_row > 0 ? (seconds - longer_.seconds) / a_row : static_cast<double>(most);
    const auto limit = static_cast<double>(most);
    return static_cast<std::uint64_t>(
        std::clamp(longer_.rows + std::floor(more), std::min(longer_.rows, limit), limit));
  }

 private:
  rehearsal longer_;
  double hits_a_row_ = 0;
  double a_hit_ = 0;
};

}  // namespace budget
