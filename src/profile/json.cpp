// For programs: the report, and the timeline in Chrome's trace format.
#include <unistd.h>

#include <libprobe/profile.hpp>
#include <nlohmann/json.hpp>
#include <ostream>

namespace libprobe {

namespace {

using nlohmann::ordered_json;

// Names are bytes; JSON is UTF-8.
constexpr auto replace = ordered_json::error_handler_t::replace;

ordered_json of(const latency_histogram& latencies) {
  auto buckets = ordered_json::array();
  for (const auto& one : latencies.buckets()) buckets.push_back({one.from, one.to, one.count});
  return {{"count", latencies.count()},         {"p50", latencies.quantile(0.5)},
          {"p90", latencies.quantile(0.9)},     {"p99", latencies.quantile(0.99)},
          {"p99.9", latencies.quantile(0.999)}, {"longest", latencies.quantile(1)},
          {"buckets", std::move(buckets)}};
}

ordered_json of(const profiled_function& one) {
  return {{"name", one.function.name},
          {"module", one.function.module},
          {"address", reinterpret_cast<std::uintptr_t>(one.function.address)},
          {"size", one.function.size},
          {"calls", one.calls},
          {"unwound", one.unwound},
          {"missed", one.missed},
          {"total_ns", one.total_ns},
          {"self_ns", one.self_ns},
          {"latency_ns", of(one.latencies)}};
}

ordered_json of(const skipped_function& one) {
  return {{"name", one.name}, {"module", one.module}, {"why", one.why.message()}, {"detail", one.detail}};
}

ordered_json of(const profile_losses& losses) {
  return {{"missed", losses.missed},
          {"untimed", losses.untimed},
          {"unplaced", losses.unplaced},
          {"events", losses.events},
          {"samples", losses.samples}};
}

template <class Rows>
ordered_json list_of(const Rows& rows) {
  auto list = ordered_json::array();
  for (const auto& row : rows) list.push_back(of(row));
  return list;
}

ordered_json stacks_of(const std::vector<profile_stack>& stacks, bool sampled) {
  auto list = ordered_json::array();
  for (const auto& one : stacks) {
    ordered_json row{{"frames", one.frames}, {"calls", one.calls}};
    if (sampled) {
      row["value"] = one.value;
    } else {
      row["self_ns"] = one.self_ns;
    }
    list.push_back(std::move(row));
  }
  return list;
}

}  // namespace

void write_json(std::ostream& out, const profile_report& report) {
  const ordered_json whole{{"running_ns", report.running_ns},
                           {"clock", report.from_tsc ? "tsc" : "clock_gettime"},
                           {"relative_error", latency_histogram::relative_error},
                           {"functions", list_of(report.functions)},
                           {"skipped", list_of(report.skipped)},
                           {"losses", of(report.losses)},
                           {"call_tree", stacks_of(report.call_tree, false)},
                           {"samples", stacks_of(report.samples, true)}};
  out << whole.dump(-1, ' ', false, replace) << '\n';
}

// Event by event: a timeline may be long.
void write_trace(std::ostream& out, const profile_report& report) {
  const auto process = ::getpid();
  out << "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
  const char* between = "\n";
  for (const auto& one : report.events) {
    const auto& function = report.functions[one.function].function;
    const ordered_json event{{"name", function.name},     {"cat", function.module},        {"ph", "X"},
                             {"ts", one.start_ns / 1000}, {"dur", one.duration_ns / 1000}, {"pid", process},
                             {"tid", one.thread}};
    out << between << event.dump(-1, ' ', false, replace);
    between = ",\n";
  }
  out << "\n]}\n";
}

}  // namespace libprobe
