// What the long run is to have under probe, and how much of it fits into the time: found by short runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "budget.hpp"
#include "connections.hpp"
#include "library.hpp"
#include "watched.hpp"

struct wanted {
  std::size_t hot = 8;    // of the functions that are called most
  std::size_t large = 8;  // of those with the most instructions
  double seconds = 30;    // of work under probe
  std::uint64_t most_rows = 100'000;
  connections in;
};

/// How many rows the short runs have.
std::uint64_t trial_rows(const wanted& what);

/// Functions to be probed at every instruction. They are chosen for the most rows by what hits cost in a
/// short run with probes on all instructions of the candidates.
std::vector<const library::function*> choose_functions(const library::image& image, const wanted& what);

/// Short runs under the very probes of the long one. They are registered meanwhile, and no longer. `took`:
/// the seconds are added to it.
budget::promise rehearse(const probe_set& probes, const wanted& what, double& took);
