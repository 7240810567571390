// Failures of fixtures, caught instead of reported.
#pragma once

#include <libprobe/testing/report.hpp>
#include <string>
#include <vector>

namespace libprobe::test {

/// Between begin and end fixtures' failures of the process come here; one at a time.
class caught_failures {
 public:
  caught_failures() : before_{set_failure_reporter([](const failure& f) { list().push_back(f); })} {
    list().clear();
  }
  ~caught_failures() { set_failure_reporter(before_); }
  caught_failures(const caught_failures&) = delete;
  caught_failures& operator=(const caught_failures&) = delete;

  [[nodiscard]] static std::vector<std::string> messages() {
    std::vector<std::string> all;
    for (const auto& f : list()) all.push_back(f.message);
    return all;
  }
  static std::vector<failure>& list() {
    static std::vector<failure> failures;
    return failures;
  }

 private:
  failure_reporter before_;
};

}  // namespace libprobe::test
