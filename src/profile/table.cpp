#include <fmt/ostream.h>

#include <algorithm>
#include <libprobe/profile.hpp>
#include <ostream>

#include "profile/text.hpp"

namespace libprobe {

namespace {

using profile::duration;

void write_function(std::ostream& out, const profiled_function& one, double all_self) {
  fmt::print(out, "{:>12}", one.calls);
  if (all_self > 0) {
    const auto& q = one.latencies;
    fmt::print(out, "  {:>8}  {:>8} {:>5.1f} %  {:>8}  {:>8}  {:>8}  {:>8}", duration(one.total_ns),
               duration(one.self_ns), 100 * one.self_ns / all_self, duration(q.quantile(0.5)),
               duration(q.quantile(0.9)), duration(q.quantile(0.99)), duration(q.quantile(1)));
  }
  fmt::print(out, "  {}  {}\n", one.function.name, one.function.module);
}

void write_losses(std::ostream& out, const profile_losses& losses) {
  const struct {
    std::uint64_t count;
    const char* what;
  } rows[] = {{losses.missed, "calls not seen"},
              {losses.untimed, "calls without a time"},
              {losses.unplaced, "calls without their callers"},
              {losses.events, "calls not in the timeline"},
              {losses.samples, "stacks not kept"}};
  for (const auto& row : rows) {
    if (row.count != 0) fmt::print(out, "lost: {} {}\n", row.count, row.what);
  }
}

}  // namespace

void write_table(std::ostream& out, const profile_report& report, std::size_t rows) {
  std::vector<const profiled_function*> called;
  double all_self = 0;
  for (const auto& one : report.functions) {
    if (one.calls != 0) called.push_back(&one);
    all_self += one.self_ns;
  }
  std::ranges::stable_sort(called, [](const auto* one, const auto* other) {
    return one->self_ns != other->self_ns ? one->self_ns > other->self_ns : one->calls > other->calls;
  });

  fmt::print(out, "{} of {} functions called in {}\n", called.size(), report.functions.size(),
             duration(report.running_ns));
  fmt::print(out, "{:>12}", "calls");
  if (all_self > 0) {
    fmt::print(out, "  {:>8}  {:>16}  {:>8}  {:>8}  {:>8}  {:>8}", "total", "self", "median", "90 %", "99 %",
               "longest");
  }
  fmt::print(out, "  function\n");
  if (rows == 0) rows = called.size();
  for (std::size_t i = 0; i < std::min(rows, called.size()); ++i) write_function(out, *called[i], all_self);
  if (rows < called.size()) fmt::print(out, "{:>12}  further functions\n", called.size() - rows);
  for (const auto& one : report.skipped) {
    fmt::print(out, "skipped: {}{}{}: {}{}{}\n", one.name, one.module.empty() ? "" : "  ", one.module,
               one.why.message(), one.detail.empty() ? "" : ": ", one.detail);
  }
  write_losses(out, report.losses);
}

}  // namespace libprobe
