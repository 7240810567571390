// A program of scenarios: runs those whose names it is given, or all. Exit status 1 and VIOLATION on standard
// output if something was found.
#pragma once

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

inline int run_scenarios(const std::vector<scenario>& all, int count, char** names) {
  bool good = true;
  for (int i = 1; i < count; ++i) {
    bool known = false;
    for (const auto& one : all) known = known || std::strcmp(one.name, names[i]) == 0;
    if (known) continue;
    std::printf("no scenario is called '%s'\n", names[i]);
    return 2;
  }
  for (const auto& one : all) {
    bool wanted = count == 1;
    for (int i = 1; i < count; ++i) wanted = wanted || std::strcmp(one.name, names[i]) == 0;
    if (wanted) good = run(one.name, one.limits, one.setup) && good;
  }
  return good ? 0 : 1;
}

}  // namespace model
