// What tests of profiles ask of reports.
#pragma once

#include <gtest/gtest.h>

#include <libprobe/libprobe.hpp>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace libprobe::test {

/// The row of a function, by its name without parameters. Fails the test if there is none.
inline profiled_function row_of(const profile_report& report, std::string_view name) {
  for (const auto& one : report.functions) {
    const std::string_view full = one.function.name;
    if (full == name || full.substr(0, full.find('(')) == name) return one;
  }
  ADD_FAILURE() << "no function " << name;
  return {};
}

/// "outer;inner" -> calls, of functions named without parameters.
inline std::map<std::string, std::uint64_t> calls_by_path(const std::vector<profile_stack>& stacks) {
  std::map<std::string, std::uint64_t> calls;
  for (const auto& one : stacks) {
    std::string path;
    for (const auto& frame : one.frames) path += (path.empty() ? "" : ";") + frame.substr(0, frame.find('('));
    calls[path] += one.calls;
  }
  return calls;
}

inline bool lost_nothing(const profile_report& report) {
  const auto& lost = report.losses;
  return lost.missed == 0 && lost.untimed == 0 && lost.unplaced == 0 && lost.events == 0 && lost.samples == 0;
}

}  // namespace libprobe::test
