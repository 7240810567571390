// One function's latencies as bars over a logarithmic axis, with its quantiles.
#include <fmt/ostream.h>

#include <algorithm>
#include <cmath>
#include <libprobe/profile.hpp>
#include <ostream>

#include "profile/text.hpp"

namespace libprobe {

namespace {

constexpr double left = 60;
constexpr double width = 820;
constexpr double top = 74;
constexpr double height = 250;

/// A bar for each eighth of a power of two: the histogram's own buckets would be hairs.
class bars {
 public:
  static constexpr double parts = 8;

  explicit bars(const latency_histogram& latencies) {
    const auto all = latencies.buckets();
    if (all.empty()) return;
    first_ = number(all.front().middle);
    counts_.resize(number(all.back().middle) - first_ + 1);
    for (const auto& one : all) counts_[number(one.middle) - first_] += one.count;
    highest_ = std::ranges::max(counts_);
  }

  [[nodiscard]] const std::vector<std::uint64_t>& counts() const { return counts_; }
  [[nodiscard]] std::uint64_t highest() const { return highest_; }
  /// Where a bar begins, in nanoseconds.
  [[nodiscard]] double from(std::size_t bar) const {
    return std::exp2(static_cast<double>(first_ + bar) / parts);
  }
  [[nodiscard]] double x_of(double ns) const {
    const double at = std::log2(std::max(ns, 1.0)) * parts - static_cast<double>(first_);
    return left + at / static_cast<double>(counts_.size()) * width;
  }

 private:
  static std::size_t number(double ns) {
    return static_cast<std::size_t>(std::log2(std::max(ns, 1.0)) * parts);
  }

  std::vector<std::uint64_t> counts_;
  std::size_t first_ = 0;
  std::uint64_t highest_ = 0;
};

void write_axis(std::ostream& out, const bars& shown) {
  const double begin = shown.from(0);
  const double end = shown.from(shown.counts().size());
  // 1, 2 and 5 of each power of ten; only the ones where many fit.
  const bool wide = end / begin > 1000;
  const auto decades = static_cast<int>(std::log10(end)) + 1;
  for (int decade = 0; decade < decades; ++decade) {
    for (const double part : {1.0, 2.0, 5.0}) {
      const double ns = std::pow(10, decade) * part;
      if (ns < begin || ns > end || (wide && part != 1)) continue;
      fmt::print(out, "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" class=\"grid\"/>",
                 shown.x_of(ns), top, top + height);
      fmt::print(out, "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n", shown.x_of(ns),
                 top + height + 16, profile::duration(ns));
    }
  }
}

void write_bars(std::ostream& out, const bars& shown) {
  const double step = width / static_cast<double>(shown.counts().size());
  for (std::size_t i = 0; i < shown.counts().size(); ++i) {
    const auto count = shown.counts()[i];
    if (count == 0) continue;
    // The longest calls are few, and what one looks for: they must be seen.
    const double tall =
        std::max(2.0, height * static_cast<double>(count) / static_cast<double>(shown.highest()));
    fmt::print(
        out,
        "<rect class=\"bar\" data-count=\"{}\" x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\">"
        "<title>{} to {}: {} calls</title></rect>\n",
        count, left + static_cast<double>(i) * step, top + height - tall, std::max(step - 1, 1.0), tall,
        profile::duration(shown.from(i)), profile::duration(shown.from(i + 1)), count);
  }
}

// Labels that would lie upon each other go down a line.
void write_quantiles(std::ostream& out, const bars& shown, const latency_histogram& latencies) {
  constexpr struct {
    double q;
    const char* name;
  } quantiles[] = {{0.5, "50 %"}, {0.9, "90 %"}, {0.99, "99 %"}, {0.999, "99.9 %"}};
  double line = top + 12;
  for (const auto& one : quantiles) {
    const double ns = latencies.quantile(one.q);
    const double x = shown.x_of(ns);
    const bool at_end = x > left + width - 150;
    fmt::print(out, "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1}\" y2=\"{2}\" class=\"quantile\"/>", x, top,
               top + height);
    fmt::print(out, "<text class=\"quantile\" x=\"{:.1f}\" y=\"{:.0f}\" text-anchor=\"{}\">{}: {}</text>\n",
               at_end ? x - 4 : x + 4, line, at_end ? "end" : "start", one.name, profile::duration(ns));
    line += 15;
  }
}

constexpr const char* style = R"css(
text { font: 12px sans-serif; fill: #222; }
.title { font: bold 15px sans-serif; }
.bar { fill: #e8803a; }
.bar:hover { fill: #b3521a; }
line.grid { stroke: #ddd; }
line.quantile { stroke: #3a6ea8; stroke-dasharray: 4 3; }
text.quantile { fill: #1f4f87; paint-order: stroke; stroke: #fdfdf8; stroke-width: 3px; }
)css";

}  // namespace

void write_latency_histogram(std::ostream& out, const profiled_function& function) {
  const auto& latencies = function.latencies;
  const bars shown{latencies};
  const auto name = profile::escaped(function.function.name);
  fmt::print(out,
             R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 {0}" width="920" height="{0}">)",
             top + height + 34);
  fmt::print(
      out,
      "\n<title>{0}</title><style>{1}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fdfdf8\"/>\n",
      name, style);
  fmt::print(out, "<text class=\"title\" x=\"{}\" y=\"26\">{}</text>\n", left, name);
  fmt::print(out, "<text x=\"{}\" y=\"46\">{} calls timed, {} in all; quantiles within {:.1f} %</text>\n",
             left, latencies.count(), profile::duration(function.total_ns),
             100 * latency_histogram::relative_error);
  if (latencies.count() != 0) {
    write_axis(out, shown);
    write_bars(out, shown);
    write_quantiles(out, shown, latencies);
    fmt::print(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n", left - 6, top + 10,
               shown.highest());
  }
  fmt::print(out, "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\" stroke=\"#222\"/>\n</svg>\n", left,
             left + width, top + height);
}

}  // namespace libprobe
