// An unmodified libsqlite3 does real work while probes sit on every function that it exports under the name
// sqlite3_* and on every instruction of hot and of large functions. The results must not change, no hit may
// be lost, and all probes go again: one by one, and in one batch.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <libprobe/libprobe.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "sqlite/choice.hpp"
#include "sqlite/connections.hpp"
#include "sqlite/library.hpp"
#include "sqlite/removal.hpp"
#include "sqlite/tables.hpp"
#include "sqlite/text.hpp"
#include "sqlite/watched.hpp"
#include "sqlite/workload.hpp"

namespace {

using text::duration;
using text::grouped;

struct options : wanted {
  std::size_t top = 20;
};

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

// ---- the whole -------------------------------------------------------------------------------------------

bool run_all(const options& chosen) {
  verdict all;
  workload::prepare();
  const auto image = library::defining("sqlite3_step");
  const auto text_before = text_of(image);
  fmt::print("{}: {} exported functions\n", image.path, image.functions.size());

  const auto chosen_functions = choose_functions(image, chosen);
  const auto add_to = [&](probe_set& set) {
    for (const auto& f : image.functions) {
      if (f.name.starts_with("sqlite3_")) set.add_entry(image, f);
    }
    for (const auto* f : chosen_functions) set.add_code(*f);
  };
  probe_set probes;
  add_to(probes);
  // All the work under these probes is to fit into the time, the rehearsals too.
  double rehearsed = 0;
  const auto promise = [&] {
    probe_set same;
    add_to(same);
    return rehearse(same, chosen, rehearsed);
  }();
  const auto rows =
      promise.rows_within(std::max(chosen.seconds - rehearsed, chosen.seconds / 2), chosen.most_rows);
  fmt::print("{} rows, seed {}; connections, each in its thread: {}\n", grouped(rows), chosen.in.seed,
             chosen.in.threads);
  fmt::print("under probe they will take about {}\n", duration(promise.seconds(static_cast<double>(rows))));

  const auto unprobed = run_connections(chosen.in, rows, {"unprobed"});
  fmt::print("unprobed: {} steps, {} rows returned, {}\n", grouped(unprobed.steps()),
             grouped(unprobed.rows_returned()), duration(unprobed.seconds));
  const auto short_rows = trial_rows(chosen);
  const auto expected = run_connections(chosen.in, short_rows, {"short run, unprobed"});

  const bool agree = std::ranges::all_of(probes.codes(), boundaries_agree);
  const auto registering = seconds_of([&] { must(libprobe::register_probes(probes.all()), "registering"); });
  fmt::print("{} probes registered in one pass: {}\n", grouped(probes.all().size()), duration(registering));

  const auto probed = run_connections(
      chosen.in, rows, {"probed", [&] { return probes.hits(); }, promise.hits(static_cast<double>(rows))});
  fmt::print("probed: {} hits, {}, {} times the unprobed run\n", grouped(probes.hits()),
             duration(probed.seconds),
             grouped(static_cast<std::uint64_t>(probed.seconds / unprobed.seconds)));

  print_functions(probes.functions(), chosen.top);
  if (!probes.codes().empty()) {
    print_hot(probes.codes());
    print_code(most_readable(probes.codes()));
  }

  fmt::print("\nChecks\n");
  for (std::size_t i = 0; i < probed.connections.size(); ++i) {
    all.claim(probed.connections[i].digest == unprobed.connections[i].digest,
              fmt::format("connection {}: digest {:016x} unprobed, {:016x} probed", i,
                          unprobed.connections[i].digest, probed.connections[i].digest));
  }
  all.claim(same_results(probed, unprobed), "all SQL results are equal");
  all.claim(agree, "registering at each offset finds the instructions that Capstone finds");
  check_calls(probes.functions(), probed, all);
  check_shared_entries(probes.functions(), probes.codes(), all);

  fmt::print("\nRemoval of all {} probes\n", grouped(probes.all().size()));
  print_removal("SQLite idle:", probes.all().size(), time_removal(probes.all(), [] {}));
  must(libprobe::register_probes(probes.all()), "registering for the load");
  background_load load{chosen.in, short_rows, expected};
  const auto under_load = time_removal(probes.all(), [&load] { load.wait_for_work(); });
  load.wait_for_work();
  load.stop();
  print_removal("SQLite at work:", probes.all().size(), under_load);

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
  app.add_option("--rows", chosen.most_rows,
                 "Rows in the main tables of all connections together, at most: as many as fit into the time")
      ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{100'000'000}))
      ->capture_default_str();
  app.add_option("--hot", chosen.hot, "How many of the functions called most to probe at every instruction")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--large", chosen.large, "And how many of the largest functions")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  app.add_option("--top", chosen.top, "How many functions to list")->capture_default_str();
  app.add_option("--seed", chosen.in.seed, "Seed of the data")->capture_default_str();
  app.add_option("--threads", chosen.in.threads, "Connections, each in a thread of its own")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--seconds", chosen.seconds,
                 "How long the work under probe may take; the functions and the rows are chosen by it")
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
