#include "choice.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <thread>
#include <unordered_set>
#include <utility>

#include "text.hpp"

using text::duration;

namespace {

/// What two short runs tell of a function.
struct forecast {
  const library::function* what;
  std::size_t instructions;
  double seen;    // calls in the longer one
  double calls;   // in the run that they are chosen for
  double growth;  // those, for each in the longer short one
};

double ratio(std::uint64_t rows, std::uint64_t of) {
  return static_cast<double>(rows) / static_cast<double>(of);
}

/// The functions are chosen to fill the time with so many rows: rather more functions than more rows.
std::uint64_t chosen_for(const wanted& what) { return std::min<std::uint64_t>(what.most_rows, 20'000); }

/// Short runs of two lengths with a probe on each exported function.
class survey {
 public:
  survey(const library::image& image, const wanted& what) {
    for (const auto& f : image.functions) probes_.add_entry(image, f);
    const auto rows = trial_rows(what);
    entries_.unprobed = run_connections(what.in, rows, {"short run, unprobed"}).seconds;
    const auto shorter_rows = rows / 4;
    const auto shorter = count(what.in, shorter_rows);
    const auto counted = count(what.in, rows);
    const auto more_rows = ratio(chosen_for(what) - rows, rows - shorter_rows);
    for (std::size_t i = 0; i < counted.size(); ++i) {
      const auto seen = static_cast<double>(counted[i]);
      entries_.hits.by_jump += seen;
      if (seen == 0) continue;
      const auto calls = seen + std::max(0.0, seen - static_cast<double>(shorter[i])) * more_rows;
      const auto& f = probes_.functions()[i].what;
      forecasts_.push_back({&f, library::disassemble(f).size(), seen, calls, calls / seen});
      if (f.name.starts_with("sqlite3_")) entry_hits_.by_jump += calls;
    }
  }

  [[nodiscard]] const budget::trial& entries() const noexcept { return entries_; }
  /// In that run, of the probes at the entries of sqlite3_*.
  [[nodiscard]] budget::hit_counts entry_hits() const noexcept { return entry_hits_; }

  /// Those that cost no more than that in it, and in a short run, if all of their probes are traps.
  /// The greatest by `rank` first. Not the very small ones: their entry says it all.
  template <class Rank>
  [[nodiscard]] std::vector<forecast> best(std::size_t count, budget::prices now, double affordable,
                                           double in_short_run, Rank rank) const {
    constexpr double part_run = 0.3;  // of a function's instructions, in one call
    constexpr std::size_t smallest = 8;
    std::vector<forecast> all;
    std::ranges::copy_if(forecasts_, std::back_inserter(all), [&](const forecast& f) {
      const auto a_call = now.of_trap * std::max(1.0, static_cast<double>(f.instructions) * part_run);
      return f.instructions >= smallest && f.calls * a_call < affordable && f.seen * a_call < in_short_run;
    });
    std::ranges::stable_sort(all, std::greater{}, rank);
    all.resize(std::min(all.size(), count));
    return all;
  }

 private:
  std::vector<std::uint64_t> count(const connections& in, std::uint64_t rows) {
    must(libprobe::register_probes(probes_.all()), "probes on all exported functions");
    entries_.seconds =
        run_connections(in, rows, {"short run, exported functions", [&] { return probes_.hits(); }}).seconds;
    libprobe::unregister_probes(probes_.all());
    std::vector<std::uint64_t> hits;
    for (const auto* p : probes_.all()) hits.push_back(libprobe::hits(*p));
    return hits;
  }

  probe_set probes_;
  budget::trial entries_;
  budget::hit_counts entry_hits_;
  std::vector<forecast> forecasts_;
};

/// A hit of a trap costs that where all threads meet it again and again: they get into each other's way in
/// the kernel.
double price_of_trap(unsigned threads) {
  constexpr int calls = 5000;
  libprobe::probe p{
      .at = "sqlite3_libversion_number", .pre_handler = only_count, .flags = libprobe::probe_flags::no_jump};
  must(libprobe::register_probe(p), "a trap, to see what it costs");
  const auto seconds = seconds_of([threads] {
    std::vector<std::jthread> all;
    for (unsigned i = 0; i < threads; ++i) {
      all.emplace_back([] {
        for (int call = 0; call < calls; ++call) sqlite3_libversion_number();
      });
    }
  });
  libprobe::unregister_probe(p);
  return seconds / (calls * threads);
}

std::vector<budget::hit_counts> by_kind(const std::deque<watched_code>& codes) {
  std::unordered_set<std::uintptr_t> jumps;
  for (const auto& row : libprobe::list_probes()) {
    if (row.jump) jumps.insert(row.address);
  }
  std::vector<budget::hit_counts> all;
  for (const auto& c : codes) {
    auto& of = all.emplace_back();
    for (std::size_t i = 0; i < c.code.size(); ++i) {
      (jumps.contains(c.code[i].address) ? of.by_jump : of.by_trap) +=
          static_cast<double>(libprobe::hits(c.probes[i]));
    }
  }
  return all;
}

}  // namespace

std::uint64_t trial_rows(const wanted& what) { return std::min<std::uint64_t>(what.most_rows, 1000); }

std::vector<const library::function*> choose_functions(const library::image& image, const wanted& what) {
  const survey surveyed{image, what};
  auto now = budget::measured(surveyed.entries(), surveyed.entries());
  now.of_trap = std::max(now.of_trap, price_of_trap(what.in.threads));

  const auto rows = trial_rows(what);
  const auto unprobed = surveyed.entries().unprobed * ratio(chosen_for(what), rows);
  const auto time_left = [&] {
    // Where hits are dear there are fewer rows, but there always are some functions.
    return std::max(what.seconds - unprobed - now.cost(surveyed.entry_hits()), what.seconds / 4);
  };
  const double a_candidate = std::max(what.seconds / 60, 0.1);
  auto candidates = surveyed.best(2 * what.hot, now, time_left() / 2, a_candidate, &forecast::calls);
  const auto hot_candidates = candidates.size();
  std::ranges::copy(surveyed.best(2 * what.large, now, time_left() / 2, a_candidate, &forecast::instructions),
                    std::back_inserter(candidates));
  probe_set tried;
  for (const auto& f : candidates) tried.add_code(*f.what);
  must(libprobe::register_probes(tried.all()), "probes on all instructions of the candidates");
  budget::trial trial = surveyed.entries();
  trial.hits = {};
  trial.seconds =
      run_connections(what.in, rows, {"short run, instructions", [&] { return tried.hits(); }}).seconds;
  const auto hits = by_kind(tried.codes());
  libprobe::unregister_probes(tried.all());
  for (const auto& of : hits) {
    trial.hits.by_jump += of.by_jump;
    trial.hits.by_trap += of.by_trap;
  }
  now = budget::measured(surveyed.entries(), trial);
  double left = time_left();
  fmt::print("a hit costs {} by a jump, {} by a trap; about {} are for single instructions\n",
             duration(now.of_jump), duration(now.of_trap), duration(left));

  std::vector<const library::function*> taken;
  const auto take = [&](std::size_t from, std::size_t to, std::size_t most, double share) {
    for (auto i = from; i < to && most != 0; ++i) {
      const auto* f = candidates[i].what;
      const double expected = now.cost(hits[i] * candidates[i].growth);
      if (expected > left * share || std::ranges::find(taken, f) != taken.end()) continue;
      fmt::print("  {:<32} {:5} instructions, about {:>9}\n", f->name, candidates[i].instructions,
                 duration(expected));
      left -= expected;
      taken.push_back(f);
      --most;
    }
  };
  take(hot_candidates, candidates.size(), what.large, 0.05);
  take(0, hot_candidates, what.hot, 0.4);
  return taken;
}

budget::promise rehearse(const probe_set& probes, const wanted& what, double& took) {
  constexpr std::uint64_t first_rows = 500;
  constexpr std::uint64_t more = 4;
  // Long enough to tell what the rest will cost.
  const double enough = what.seconds / 10;
  must(libprobe::register_probes(probes.all()), "registering for the rehearsal");
  const auto run = [&](std::uint64_t rows) {
    const auto before = probes.hits();
    const auto seconds =
        run_connections(what.in, rows, {"rehearsal", [&] { return probes.hits() - before; }}).seconds;
    took += seconds;
    return budget::rehearsal{static_cast<double>(rows), seconds, static_cast<double>(probes.hits() - before)};
  };
  auto rows = std::min(first_rows, what.most_rows / 2);
  auto shorter = run(rows);
  rows = std::min(rows * more, what.most_rows);
  auto longer = run(rows);
  while (longer.seconds < enough && rows < what.most_rows) {
    rows = std::min(rows * more, what.most_rows);
    shorter = std::exchange(longer, run(rows));
  }
  libprobe::unregister_probes(probes.all());
  return {shorter, longer};
}
