// What became of a function's calls, as each kind of probe that follows calls tells it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <ostream>
#include <string>

#include "support/retprobing.hpp"

namespace libprobe::test {

enum class by { retprobe, typed, latency, profile };
inline constexpr by every_follower[] = {by::retprobe, by::typed, by::latency, by::profile};
inline std::string name_of(by kind) {
  constexpr const char* names[] = {"Retprobe", "Typed", "Latency", "Profile"};
  return names[static_cast<int>(kind)];
}

struct ends {
  std::uint64_t returned = 0, unwound = 0;
};
struct fate {
  std::uint64_t begun = 0, returned = 0, unwound = 0, missed = 0;
  friend std::ostream& operator<<(std::ostream& out, const fate& f) {
    return out << "begun " << f.begun << ", returned " << f.returned << ", unwound " << f.unwound
               << ", missed " << f.missed;
  }
};

/// Follows a function's calls as long as it lives.
class observer {
 public:
  observer() = default;
  observer(const observer&) = delete;
  observer& operator=(const observer&) = delete;
  virtual ~observer() = default;
  [[nodiscard]] virtual fate seen() const = 0;
  /// False: `unwound` is a part of those that were.
  [[nodiscard]] virtual bool knows_all_ends() const { return true; }
  /// What else is wrong.
  [[nodiscard]] virtual std::string flaw() const { return {}; }
};

class observing_retprobe final : public observer {
 public:
  observing_retprobe(const void* function, std::size_t maxactive) : p_{location{function}, maxactive} {}
  [[nodiscard]] fate seen() const override { return {p_.entries(), p_.returns(), p_.unwinds(), p_.missed()}; }
  [[nodiscard]] std::string flaw() const override { return p_.right() ? "" : "instances were mixed up"; }

 private:
  followed p_;
};

/// The typed layer has no maxactive.
class observing_typed final : public observer {
 public:
  explicit observing_typed(const void* function)
      : p_{on_return<void()>(location{function}, [this] { ++returned_; })} {}
  [[nodiscard]] fate seen() const override {
    const auto begun = p_.hits();
    return {begun, returned_, begun - returned_, p_.nmissed()};
  }

 private:
  std::atomic<std::uint64_t> returned_{0};
  scoped_probe p_;
};

class observing_latency final : public observer {
 public:
  observing_latency(const void* function, std::size_t maxactive) {
    p_.at = function;
    p_.maxactive = maxactive;
    EXPECT_FALSE(register_latency(p_)) << last_error_detail();
  }
  [[nodiscard]] fate seen() const override {
    const auto begun = hits(p_);
    const auto returned = latencies_of(p_).count();
    return {begun, returned, begun - returned, nmissed(p_)};
  }

 private:
  latency p_{};
};

class observing_profile final : public observer {
 public:
  observing_profile(const void* function, std::size_t maxactive)
      : p_{{.functions = {pattern_of(function)}, .maxactive = maxactive}} {
    EXPECT_FALSE(p_.start()) << last_error_detail();
    EXPECT_EQ(p_.report().functions.size(), 1U) << pattern_of(function);
  }
  [[nodiscard]] fate seen() const override {
    const auto report = p_.report();
    if (report.functions.size() != 1) return {};
    const auto& row = report.functions.front();
    return {row.calls, row.calls - row.unwound, row.unwound, row.missed};
  }
  [[nodiscard]] bool knows_all_ends() const override { return false; }  // those on other threads are untimed
  [[nodiscard]] std::string flaw() const override {
    const auto report = p_.report();
    if (report.functions.size() != 1) return "no row";
    const auto& row = report.functions.front();
    if (row.latencies.count() + report.losses.untimed == row.calls) return {};
    return std::to_string(row.latencies.count()) + " timed, " + std::to_string(report.losses.untimed) +
           " untimed, " + std::to_string(row.calls) + " calls";
  }

 private:
  static std::string pattern_of(const void* function) {
    const auto info = function_at(function);
    if (!info) return "nothing";
    std::string name = info->name;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '[' || c == ']' || c == '*' || c == '\\'; }, '?');
    return info->module + ":" + name;
  }
  profiler p_;
};

inline std::unique_ptr<observer> observe(by kind, const void* function, std::size_t maxactive = 0) {
  switch (kind) {
    case by::retprobe:
      return std::make_unique<observing_retprobe>(function, maxactive);
    case by::typed:
      return std::make_unique<observing_typed>(function);
    case by::latency:
      return std::make_unique<observing_latency>(function, maxactive);
    case by::profile:
      return std::make_unique<observing_profile>(function, maxactive);
  }
  return nullptr;
}

/// All calls have ended, so many in each way; each was seen, or counted as missed, and none was told twice or
/// wrongly.
inline testing::AssertionResult accounts_for(const observer& one, ends truly) {
  const auto seen = one.seen();
  const auto no = [&](const std::string& why) {
    return testing::AssertionFailure()
           << why << "; " << seen << "; truly returned " << truly.returned << ", unwound " << truly.unwound;
  };
  if (const auto flaw = one.flaw(); !flaw.empty()) return no(flaw);
  if (seen.begun + seen.missed != truly.returned + truly.unwound) return no("not all calls are counted");
  if (seen.returned + seen.unwound != seen.begun) return no("calls have not ended");
  if (seen.unwound > truly.unwound) return no("calls that returned are told as unwound");
  if (!one.knows_all_ends()) return testing::AssertionSuccess();
  if (seen.returned > truly.returned) return no("calls that were unwound are told as returned");
  if (seen.missed == 0 && seen.returned != truly.returned) return no("some are told wrongly");
  return testing::AssertionSuccess();
}

}  // namespace libprobe::test
