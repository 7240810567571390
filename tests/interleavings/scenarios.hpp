// A program of scenarios: runs those whose names it is given, or all. Exit status 1 and VIOLATION on standard
// output if something was found.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "interleavings/model.hpp"

namespace model {

struct scenario {
  const char* name;
  bounds limits;
  void (*setup)(program&);
};

/// All, those that are named, or after `--but` all but those.
inline int run_scenarios(const std::vector<scenario>& all, int count, char** names) {
  bool good = true;
  const bool but = count > 1 && std::strcmp(names[1], "--but") == 0;
  const int first = but ? 2 : 1;
  const auto named = [&](const scenario& one) {
    return std::any_of(names + first, names + count,
                       [&](const char* name) { return std::strcmp(one.name, name) == 0; });
  };
  for (int i = first; i < count; ++i) {
    if (std::any_of(all.begin(), all.end(),
                    [&](const scenario& one) { return std::strcmp(one.name, names[i]) == 0; }))
      continue;
    std::printf("no scenario is called '%s'\n", names[i]);
    return 2;
  }
  for (const auto& one : all) {
    if (count == 1 || named(one) != but) good = run(one.name, one.limits, one.setup) && good;
  }
  return good ? 0 : 1;
}

}  // namespace model
