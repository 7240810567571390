// An unmodified libsqlite3 does real work while probes sit on every function that it exports under the name
// sqlite3_* and on every instruction of hot and of large functions. The results must not change, no hit may
// be lost, and all probes go again: one by one, and in one batch.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <iterator>
#include <libprobe/libprobe.hpp>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "sqlite/library.hpp"
#include "sqlite/progress.hpp"
#include "sqlite/text.hpp"
#include "sqlite/workload.hpp"

namespace {

using text::duration;
using text::grouped;

struct options {
  std::uint64_t rows = 100'000;
  std::size_t hot = 8;
  std::size_t large = 8;
  std::size_t top = 20;
  std::uint64_t seed = 1;
  unsigned threads = 2;
  double seconds = 30;
};

template <class F>
double seconds_of(F&& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void must(std::error_code answer, std::string_view doing) {
  if (!answer) return;
  throw std::runtime_error{fmt::format("{}: {} {}", doing, answer.message(), libprobe::last_error_detail())};
}

/// Every claim that the run makes; one that does not hold makes the exit code non-zero.
class verdict {
 public:
  void claim(bool holds, std::string_view what) {
    fmt::print("  {}  {}\n", holds ? "ok  " : "FAIL", what);
    good_ = good_ && holds;
  }
  [[nodiscard]] bool good() const noexcept { return good_; }

 private:
  bool good_ = true;
};

// ---- the work --------------------------------------------------------------------------------------------

struct run_result {
  std::vector<workload::outcome> connections;
  double seconds = 0;

  [[nodiscard]] std::uint64_t steps() const {
    std::uint64_t sum = 0;
    for (const auto& one : connections) sum += one.steps();
    return sum;
  }
  [[nodiscard]] std::uint64_t rows_returned() const {
    std::uint64_t sum = 0;
    for (const auto& one : connections) sum += one.rows_returned;
    return sum;
  }
};

/// One connection a thread, each with its part of the rows.
run_result run_connections(const options& chosen, std::uint64_t rows, std::atomic<std::uint64_t>& steps) {
  run_result all;
  all.connections.resize(chosen.threads);
  std::vector<std::string> errors(chosen.threads);
  all.seconds = seconds_of([&] {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < chosen.threads; ++i) {
      threads.emplace_back([&, i] {
        try {
          all.connections[i] = workload::run(rows / chosen.threads, chosen.seed + i, steps);
        } catch (const std::exception& failure) {
          errors[i] = failure.what();
        }
      });
    }
  });
  for (const auto& error : errors) {
    if (!error.empty()) throw std::runtime_error{error};
  }
  return all;
}

/// The same, with the progress shown. `expected`: how many steps it will be; 0 if that is not known.
run_result run_connections(const options& chosen, std::uint64_t rows, std::string title,
                           std::uint64_t expected, std::function<std::uint64_t()> hits = {}) {
  std::atomic<std::uint64_t> steps{0};
  const progress bar{std::move(title), steps, expected, std::move(hits)};
  return run_connections(chosen, rows, steps);
}

// ---- the probes ------------------------------------------------------------------------------------------

/// An exported function with a probe at its entry that tells the program's own calls from the library's.
struct watched_function {
  const library::image& in;
  const library::function& what;
  std::atomic<std::uint64_t> from_outside{0};
  libprobe::probe probe{
      .at = fmt::format("{}:{}", in.file_name, what.name), .pre_handler = on_entry, .context = this};

  watched_function(const library::image& image, const library::function& function)
      : in{image}, what{function} {}

  static int on_entry(libprobe::probe& p, libprobe::registers& regs) {
    auto& self = *static_cast<watched_function*>(p.context);
    const auto caller = *reinterpret_cast<const std::uintptr_t*>(regs.sp());
    if (!self.in.holds(caller)) self.from_outside.fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
};

int only_count(libprobe::probe& /*unused*/, libprobe::registers& /*unused*/) { return 0; }

/// A function and a probe for each of its instructions.
struct watched_code {
  const library::function& what;
  std::vector<library::instruction> code;
  std::deque<libprobe::probe> probes;

  explicit watched_code(const library::function& function)
      : what{function}, code{library::disassemble(function)} {
    for (const auto& one : code) {
      auto& p = probes.emplace_back();
      p.at = reinterpret_cast<const void*>(one.address);
      p.pre_handler = only_count;
    }
  }

  [[nodiscard]] std::uint64_t hits() const {
    std::uint64_t sum = 0;
    for (const auto& p : probes) sum += libprobe::hits(p);
    return sum;
  }
};

std::vector<libprobe::probe*> all_of(std::deque<watched_function>& functions,
                                     std::deque<watched_code>& codes) {
  std::vector<libprobe::probe*> all;
  for (auto& f : functions) all.push_back(&f.probe);
  for (auto& c : codes) {
    for (auto& p : c.probes) all.push_back(&p);
  }
  return all;
}

std::uint64_t hits_of(std::span<libprobe::probe* const> probes) {
  std::uint64_t sum = 0;
  for (const auto* p : probes) sum += libprobe::hits(*p);
  return sum;
}

// ---- which functions to probe throughout
// -----------------------------------------------------------------------------

std::uint64_t trial_rows(const options& chosen) { return std::min<std::uint64_t>(chosen.rows, 1000); }

/// What two short runs tell of a function in the long one.
struct forecast {
  const library::function* what;
  std::size_t instructions;
  double calls;
  double growth;  // hits in the long run for each hit in the second short one
};

/// Short runs of two lengths with a probe on each exported function.
class survey {
 public:
  survey(const library::image& image, const options& chosen, const run_result& unprobed) {
    std::deque<watched_function> functions;
    for (const auto& f : image.functions) functions.emplace_back(image, f);
    std::deque<watched_code> none;
    const auto entries = all_of(functions, none);
    const auto rows = trial_rows(chosen);
    const auto shorter_rows = rows / 4;
    const auto shorter = count(entries, chosen, shorter_rows);
    const auto counted = count(entries, chosen, rows);
    a_hit_ = (seconds_ - unprobed.seconds * static_cast<double>(rows) / static_cast<double>(chosen.rows)) /
             static_cast<double>(hits_of(entries));
    const auto more_rows = static_cast<double>(chosen.rows - rows) / static_cast<double>(rows - shorter_rows);
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto seen = static_cast<double>(counted[i]);
      if (seen == 0) continue;
      const auto calls = seen + std::max(0.0, seen - static_cast<double>(shorter[i])) * more_rows;
      const auto& f = functions[i].what;
      forecasts_.push_back({&f, library::disassemble(f).size(), calls, calls / seen});
      if (f.name.starts_with("sqlite3_")) entry_seconds_ += cost(calls);
    }
  }

  [[nodiscard]] double a_hit() const noexcept { return a_hit_; }
  [[nodiscard]] double cost(double hits) const noexcept { return hits * a_hit_; }
  /// Of the probes at the entries of sqlite3_*.
  [[nodiscard]] double entry_seconds() const noexcept { return entry_seconds_; }

  /// Those that promise to cost no more than that, the greatest by `rank` first. Not the very small ones:
  /// their entry says it all.
  template <class Rank>
  [[nodiscard]] std::vector<forecast> best(std::size_t count, double affordable, Rank rank) const {
    constexpr double part_run = 0.3;  // of a function's instructions, in one call
    constexpr std::size_t smallest = 8;
    std::vector<forecast> all;
    std::ranges::copy_if(forecasts_, std::back_inserter(all), [&](const forecast& f) {
      return f.instructions >= smallest &&
             cost(f.calls * std::max(1.0, static_cast<double>(f.instructions) * part_run)) < affordable;
    });
    std::ranges::stable_sort(all, std::greater{}, rank);
    all.resize(std::min(all.size(), count));
    return all;
  }

 private:
  std::vector<std::uint64_t> count(std::span<libprobe::probe* const> entries, const options& chosen,
                                   std::uint64_t rows) {
    must(libprobe::register_probes(entries), "probes on all exported functions");
    seconds_ = run_connections(chosen, rows, "short run, exported functions", 0, [&] {
                 return hits_of(entries);
               }).seconds;
    libprobe::unregister_probes(entries);
    std::vector<std::uint64_t> hits;
    for (const auto* p : entries) hits.push_back(libprobe::hits(*p));
    return hits;
  }

  double seconds_ = 0;
  double a_hit_ = 0;
  double entry_seconds_ = 0;
  std::vector<forecast> forecasts_;
};

/// Some of the functions that are called most, and some of those with the most instructions, whatever fits
/// into the time: found by a short run with probes on all instructions of the candidates.
std::vector<const library::function*> choose_functions(const library::image& image, const options& chosen,
                                                       const run_result& unprobed) {
  const survey surveyed{image, chosen, unprobed};
  // Where traps are dear the run takes longer, but there always are some.
  double left = std::max(chosen.seconds - unprobed.seconds - surveyed.entry_seconds(), chosen.seconds / 4);
  fmt::print("a hit costs {}; about {} are for single instructions\n",
             duration(surveyed.a_hit() * chosen.threads), duration(left));

  auto candidates = surveyed.best(2 * chosen.hot, left / 2, &forecast::calls);
  const auto hot_candidates = candidates.size();
  std::ranges::copy(surveyed.best(2 * chosen.large, left / 2, &forecast::instructions),
                    std::back_inserter(candidates));
  std::deque<watched_code> codes;
  for (const auto& f : candidates) codes.emplace_back(*f.what);
  std::deque<watched_function> none;
  const auto instructions = all_of(none, codes);
  must(libprobe::register_probes(instructions), "probes on all instructions of the candidates");
  run_connections(chosen, trial_rows(chosen), "short run, instructions", 0,
                  [&] { return hits_of(instructions); });
  libprobe::unregister_probes(instructions);

  std::vector<const library::function*> taken;
  const auto take = [&](std::size_t from, std::size_t to, std::size_t most, double share) {
    for (auto i = from; i < to && most != 0; ++i) {
      const auto* f = candidates[i].what;
      const double expected = surveyed.cost(static_cast<double>(codes[i].hits()) * candidates[i].growth);
      if (expected > left * share || std::ranges::find(taken, f) != taken.end()) continue;
      fmt::print("  {:<32} {:5} instructions, about {:>9}\n", f->name, codes[i].code.size(),
                 duration(expected));
      left -= expected;
      taken.push_back(f);
      --most;
    }
  };
  take(hot_candidates, candidates.size(), chosen.large, 0.05);
  take(0, hot_candidates, chosen.hot, 0.4);
  return taken;
}

/// Which offsets of a function libprobe takes for instructions, found by asking for each.
std::vector<std::uintptr_t> accepted_offsets(const library::function& in) {
  std::vector<std::uintptr_t> accepted;
  for (std::uintptr_t offset = 0; offset < in.size; ++offset) {
    libprobe::probe p{.at = reinterpret_cast<const void*>(in.start + offset),
                      .pre_handler = only_count,
                      .flags = libprobe::probe_flags::disabled};
    const auto answer = libprobe::register_probe(p);
    if (!answer) accepted.push_back(offset);
    if (answer && answer != libprobe::errc::not_instruction_boundary) {
      fmt::print("  {}+{:#x}: {} {}\n", in.name, offset, answer.message(), libprobe::last_error_detail());
    }
  }
  return accepted;
}

bool boundaries_agree(const watched_code& c) {
  const auto accepted = accepted_offsets(c.what);
  return std::ranges::equal(accepted, c.code, {}, {},
                            [&c](const library::instruction& i) { return i.address - c.what.start; });
}

// ---- tables ----------------------------------------------------------------------------------------------

void print_functions(const std::deque<watched_function>& functions, std::size_t top) {
  std::vector<const watched_function*> ranked;
  for (const auto& f : functions) ranked.push_back(&f);
  std::ranges::stable_sort(ranked, std::greater{}, [](const auto* f) { return libprobe::hits(f->probe); });
  const auto hit = std::ranges::count_if(ranked, [](const auto* f) { return libprobe::hits(f->probe) != 0; });
  fmt::print("\nFunctions: {} probed, {} of them hit\n", ranked.size(), hit);
  fmt::print("  {:<30} {:>14} {:>16} {:>16} {:>8}\n", "function", "hits", "by the program", "by the library",
             "missed");
  for (const auto* f : std::span{ranked}.first(std::min(top, ranked.size()))) {
    const auto all = libprobe::hits(f->probe);
    const auto outside = f->from_outside.load();
    fmt::print("  {:<30} {:>14} {:>16} {:>16} {:>8}\n", f->what.name, grouped(all), grouped(outside),
               grouped(all - outside), grouped(libprobe::nmissed(f->probe)));
  }
}

void print_hot(const std::deque<watched_code>& codes) {
  fmt::print("\nFunctions probed at every instruction\n");
  fmt::print("  {:<30} {:>14} {:>16}\n", "function", "instructions", "hits");
  for (const auto& c : codes) {
    fmt::print("  {:<30} {:>14} {:>16}\n", c.what.name, c.code.size(), grouped(c.hits()));
  }
}

/// One function, instruction by instruction.
void print_code(const watched_code& c) {
  constexpr std::size_t longest = 60;
  std::map<std::uintptr_t, std::string> methods;
  for (const auto& row : libprobe::list_probes()) methods[row.address] = row.method;
  std::uint64_t most = 1;
  for (const auto& p : c.probes) most = std::max(most, libprobe::hits(p));

  fmt::print("\n{}, instruction by instruction\n", c.what.name);
  fmt::print("  {:>8} {:>14}  {:<12} {:<9} {}\n", "offset", "hits", "", "run", "instruction");
  for (std::size_t i = 0; i < std::min(c.code.size(), longest); ++i) {
    const auto hits = libprobe::hits(c.probes[i]);
    fmt::print("  {:>8} {:>14}  {:<12} {:<9} {}\n", fmt::format("+{:#x}", c.code[i].address - c.what.start),
               grouped(hits), std::string(hits * 12 / most, '#'), methods[c.code[i].address], c.code[i].text);
  }
  if (c.code.size() > longest) fmt::print("  ... and {} more\n", c.code.size() - longest);
}

/// The longest that still fits on a screen.
const watched_code& most_readable(const std::deque<watched_code>& codes) {
  constexpr std::size_t screen = 60;
  const watched_code* best = &codes.front();
  for (const auto& c : codes) {
    const auto size = c.code.size();
    const auto best_size = best->code.size();
    if (size <= screen && (size > best_size || best_size > screen)) best = &c;
  }
  return *best;
}

// ---- checks ----------------------------------------------------------------------------------------------

bool same_results(const run_result& a, const run_result& b) {
  return std::ranges::equal(a.connections, b.connections, [](const auto& x, const auto& y) {
    return x.digest == y.digest && x.rows_returned == y.rows_returned && x.calls == y.calls;
  });
}

/// The program's own count of its calls against what the probes saw.
void check_calls(const std::deque<watched_function>& functions, const run_result& run, verdict& all) {
  for (std::size_t i = 0; i < std::size(workload::call_names); ++i) {
    std::uint64_t made = 0;
    for (const auto& one : run.connections) made += one.calls[i];
    const auto found = std::ranges::find(functions, workload::call_names[i],
                                         [](const auto& f) -> std::string_view { return f.what.name; });
    if (found == functions.end()) {
      all.claim(false, fmt::format("{} is not exported", workload::call_names[i]));
      continue;
    }
    const auto seen = found->from_outside.load() + libprobe::nmissed(found->probe);
    all.claim(seen == made,
              fmt::format("{}: {} calls made, {} seen", found->what.name, grouped(made), grouped(seen)));
  }
}

/// Where a hot function's first instruction and its entry have a probe each, both have seen the same.
void check_shared_entries(const std::deque<watched_function>& functions,
                          const std::deque<watched_code>& codes, verdict& all) {
  for (const auto& c : codes) {
    for (const auto& f : functions) {
      if (f.what.start != c.what.start) continue;
      all.claim(libprobe::hits(f.probe) == libprobe::hits(c.probes.front()),
                fmt::format("two probes at {} saw the same hits", f.what.name));
    }
  }
}

std::vector<std::uint8_t> text_of(const library::image& image) {
  const auto* start = reinterpret_cast<const std::uint8_t*>(image.text_start);
  return {start, start + (image.text_end - image.text_start)};
}

// ---- removal ---------------------------------------------------------------------------------------------

struct removal_times {
  double one_by_one = 0;
  double registering = 0;
  double batch = 0;
};

/// The probes are registered. `settle` is called before each part.
template <class F>
removal_times time_removal(std::span<libprobe::probe* const> probes, F&& settle) {
  removal_times times;
  settle();
  times.one_by_one = seconds_of([&] {
    for (auto* p : probes) libprobe::unregister_probe(*p);
  });
  settle();
  times.registering = seconds_of([&] { must(libprobe::register_probes(probes), "registering again"); });
  settle();
  times.batch = seconds_of([&] { libprobe::unregister_probes(probes); });
  return times;
}

void print_removal(std::string_view when, std::size_t count, const removal_times& times) {
  const auto line = [&](std::string_view what, double all) {
    fmt::print("  {:<16} {:<26} {:>10}  {:>10} each\n", when, what, duration(all),
               duration(all / static_cast<double>(count)));
  };
  line("registered in one batch", times.registering);
  line("removed one by one", times.one_by_one);
  line("removed in one batch", times.batch);
  fmt::print("  {:<16} the batch removes {:.0f} times faster\n", when, times.one_by_one / times.batch);
}

/// Small runs, again and again, while probes come and go.
class background_load {
 public:
  background_load(const options& chosen, std::uint64_t all_rows, const run_result& expected) {
    const auto rows = all_rows / chosen.threads;
    for (unsigned i = 0; i < chosen.threads; ++i) {
      threads_.emplace_back([this, rows, seed = chosen.seed + i,
                             digest = expected.connections[i].digest](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          if (workload::run(rows, seed, steps_).digest != digest) wrong_.fetch_add(1);
          runs_.fetch_add(1);
        }
      });
    }
  }
  /// Returns when the load has come on by some steps.
  void wait_for_work() const {
    constexpr std::uint64_t some = 500;
    const auto until = steps_.load() + some;
    while (steps_.load() < until) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  /// Ends the load.
  void stop() { threads_.clear(); }
  [[nodiscard]] std::uint64_t runs() const noexcept { return runs_; }
  [[nodiscard]] std::uint64_t wrong() const noexcept { return wrong_; }

 private:
  std::atomic<std::uint64_t> steps_{0};
  std::atomic<std::uint64_t> runs_{0};
  std::atomic<std::uint64_t> wrong_{0};
  std::vector<std::jthread> threads_;
};

// ---- the whole -------------------------------------------------------------------------------------------

bool run_all(const options& chosen) {
  verdict all;
  workload::prepare();
  const auto image = library::defining("sqlite3_step");
  const auto text_before = text_of(image);
  fmt::print("{}: {} exported functions\n", image.path, image.functions.size());
  fmt::print("{} rows, seed {}; connections, each in its thread: {}\n", grouped(chosen.rows), chosen.seed,
             chosen.threads);

  const auto unprobed = run_connections(chosen, chosen.rows, "unprobed", 0);
  fmt::print("unprobed: {} steps, {} rows returned, {}\n", grouped(unprobed.steps()),
             grouped(unprobed.rows_returned()), duration(unprobed.seconds));

  const auto chosen_functions = choose_functions(image, chosen, unprobed);

  std::deque<watched_function> functions;
  std::deque<watched_code> codes;
  for (const auto& f : image.functions) {
    if (f.name.starts_with("sqlite3_")) functions.emplace_back(image, f);
  }
  for (const auto* f : chosen_functions) codes.emplace_back(*f);
  const auto probes = all_of(functions, codes);
  const bool agree = std::ranges::all_of(codes, boundaries_agree);
  const auto registering = seconds_of([&] { must(libprobe::register_probes(probes), "registering"); });
  fmt::print("{} probes registered in one pass: {}\n", grouped(probes.size()), duration(registering));

  const auto probed =
      run_connections(chosen, chosen.rows, "probed", unprobed.steps(), [&] { return hits_of(probes); });
  const auto hits = hits_of(probes);
  fmt::print("probed: {} hits, {}, {} times the unprobed run\n", grouped(hits), duration(probed.seconds),
             grouped(static_cast<std::uint64_t>(probed.seconds / unprobed.seconds)));

  print_functions(functions, chosen.top);
  if (!codes.empty()) {
    print_hot(codes);
    print_code(most_readable(codes));
  }

  fmt::print("\nChecks\n");
  for (std::size_t i = 0; i < probed.connections.size(); ++i) {
    all.claim(probed.connections[i].digest == unprobed.connections[i].digest,
              fmt::format("connection {}: digest {:016x} unprobed, {:016x} probed", i,
                          unprobed.connections[i].digest, probed.connections[i].digest));
  }
  all.claim(same_results(probed, unprobed), "all SQL results are equal");
  all.claim(agree, "registering at each offset finds the instructions that Capstone finds");
  check_calls(functions, probed, all);
  check_shared_entries(functions, codes, all);

  const auto expected = run_connections(chosen, trial_rows(chosen), "short run, unprobed", 0);
  fmt::print("\nRemoval of all {} probes\n", grouped(probes.size()));
  print_removal("SQLite idle:", probes.size(), time_removal(probes, [] {}));
  must(libprobe::register_probes(probes), "registering for the load");
  background_load load{chosen, trial_rows(chosen), expected};
  const auto under_load = time_removal(probes, [&load] { load.wait_for_work(); });
  load.wait_for_work();
  load.stop();
  print_removal("SQLite at work:", probes.size(), under_load);

  fmt::print("\nChecks\n");
  all.claim(load.wrong() == 0,
            fmt::format("{} runs while probes came and went, all with equal results", grouped(load.runs())));
  all.claim(text_of(image) == text_before, "the library's code is as it was, byte for byte");
  all.claim(libprobe::list_probes().empty(), "no probe is left");
  return all.good();
}

}  // namespace

int main(int argc, char** argv) {
  options chosen;
  CLI::App app{"SQL on an unmodified libsqlite3 under thousands of probes"};
  app.add_option("--rows", chosen.rows, "Rows in the main tables of all connections together")
      ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{100'000'000}))
      ->capture_default_str();
  app.add_option("--hot", chosen.hot, "How many of the functions called most to probe at every instruction")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--large", chosen.large, "And how many of the largest functions")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app.add_option("--top", chosen.top, "How many functions to list")->capture_default_str();
  app.add_option("--seed", chosen.seed, "Seed of the data")->capture_default_str();
  app.add_option("--threads", chosen.threads, "Connections, each in a thread of its own")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--seconds", chosen.seconds,
                 "How long the probed run may take; the functions are chosen by it")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    const bool good = run_all(chosen);
    fmt::print("\n{}\n", good ? "Results equal, no hit lost." : "FAILED");
    return good ? 0 : 1;
  } catch (const std::exception& failure) {
    fmt::print(stderr, "sqlite_workload: {}\n", failure.what());
    return 2;
  }
}
