// Stacks as boxes: what a box is wide, it weighs; what stands on it, it called.
#include <fmt/ostream.h>

#include <algorithm>
#include <map>
#include <ostream>

#include "profile/flame_graph_script.hpp"
#include "profile/stacks.hpp"
#include "profile/text.hpp"

namespace libprobe {

namespace {

constexpr double left = 10;
constexpr double width = 1180;
constexpr double row = 17;
constexpr double head = 48;
constexpr double letter = 6.7;  // of the font below
// Narrower boxes would be seen by nobody, zoomed in either.
constexpr double parts_of_total = 5'000;

struct box {
  std::uint64_t weight = 0;  // with what it called
  std::map<std::string, box> calls;
};

std::size_t height(const box& one, std::uint64_t least) {
  std::size_t highest = 0;
  for (const auto& [name, inner] : one.calls) {
    if (inner.weight >= least) highest = std::max(highest, 1 + height(inner, least));
  }
  return highest;
}

// Warm, and the same for the same name.
std::string colour_of(const std::string& name) {
  std::uint32_t hash = 2166136261U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return fmt::format("hsl({},{}%,{}%)", 8 + hash % 42, 70 + (hash >> 8) % 20, 58 + (hash >> 16) % 12);
}

std::string fitting(const std::string& name, double pixels) {
  const auto room = static_cast<std::ptrdiff_t>((pixels - 6) / letter);
  if (room < 3) return {};
  if (static_cast<std::ptrdiff_t>(name.size()) <= room) return name;
  return name.substr(0, static_cast<std::size_t>(room - 2)) + "..";
}

class writer {
 public:
  writer(std::ostream& out, const box& all, stack_weight by)
      : out_{out},
        total_{all.weight},
        least_{std::max<std::uint64_t>(
            1, static_cast<std::uint64_t>(static_cast<double>(all.weight) / parts_of_total))},
        by_{by},
        bottom_{head + row * static_cast<double>(height(all, least_))} {}

  [[nodiscard]] double bottom() const { return bottom_; }

  void write(const std::string& name, const box& one, std::uint64_t from, std::size_t depth) {
    const double scale = width / static_cast<double>(total_);
    const double x = left + static_cast<double>(from) * scale;
    const double y = bottom_ - row * static_cast<double>(depth);
    const double pixels = static_cast<double>(one.weight) * scale;
    const auto shown = profile::escaped(name);
    fmt::print(out_, R"(<g class="frame" data-name="{}" data-from="{}" data-weight="{}" data-depth="{}">)",
               shown, from, one.weight, depth);
    fmt::print(out_, "<title>{}: {}</title>", shown, amount(one.weight));
    fmt::print(out_, R"(<rect x="{:.2f}" y="{:.1f}" width="{:.2f}" height="{}" fill="{}"/>)", x, y, pixels,
               row - 1, colour_of(name));
    const auto label = fitting(name, pixels);
    if (!label.empty()) {
      fmt::print(out_, "<text x=\"{:.2f}\" y=\"{:.1f}\">{}</text>", x + 3, y + 12, profile::escaped(label));
    }
    out_ << "</g>\n";
    for (const auto& [inner_name, inner] : one.calls) {
      if (inner.weight >= least_) write(inner_name, inner, from, depth + 1);
      from += inner.weight;
    }
  }

 private:
  [[nodiscard]] std::string amount(std::uint64_t weight) const {
    const double part = 100 * static_cast<double>(weight) / static_cast<double>(total_);
    const auto what = by_ == stack_weight::self_time ? profile::duration(static_cast<double>(weight))
                      : by_ == stack_weight::calls   ? fmt::format("{} calls", weight)
                                                     : fmt::format("{}", weight);
    return fmt::format("{} ({:.1f} %)", what, part);
  }

  std::ostream& out_;
  std::uint64_t total_;
  std::uint64_t least_;
  stack_weight by_;
  double bottom_;
};

constexpr const char* style = R"css(
text { font: 11px monospace; fill: #222; }
.title { font: bold 15px sans-serif; }
.status, .reset { font: 12px sans-serif; }
.reset { cursor: pointer; fill: #06c; }
.frame { cursor: pointer; }
.frame text { pointer-events: none; }
.frame:hover rect { stroke: #222; }
.frame.outer { opacity: 0.5; }
.frame.found rect { fill: #b36ae2; }
)css";

}  // namespace

void write_flame_graph(std::ostream& out, std::span<const profile_stack> stacks, stack_weight weight,
                       std::string_view title) {
  box all;
  for (const auto& stack : stacks) {
    const auto weighs = profile::weight_of(stack, weight);
    if (weighs == 0) continue;
    box* at = &all;
    at->weight += weighs;
    for (const auto& name : stack.frames) {
      at = &at->calls[name];
      at->weight += weighs;
    }
  }
  all.weight = std::max<std::uint64_t>(all.weight, 1);  // nothing recorded: an empty picture
  writer boxes{out, all, weight};
  constexpr const char* hint = "click: zoom, type: search, Esc: back";
  fmt::print(
      out,
      R"(<svg xmlns="http://www.w3.org/2000/svg" class="flame" viewBox="0 0 1200 {0}" width="1200" height="{0}" )"
      R"(data-total="{1}" data-left="{2}" data-width="{3}" data-letter="{4}">)",
      boxes.bottom() + row + 10, all.weight, left, width, letter);
  fmt::print(
      out,
      "\n<title>{0}</title><style>{1}</style>\n<rect width=\"100%\" height=\"100%\" fill=\"#fdfdf8\"/>\n",
      profile::escaped(title), style);
  fmt::print(out, "<text class=\"title\" x=\"{}\" y=\"22\">{}</text>\n", left, profile::escaped(title));
  fmt::print(out, R"(<text class="status" x="{0}" y="22" text-anchor="end" data-hint="{1}">{1}</text>)",
             left + width, hint);
  fmt::print(out, "\n<text class=\"reset\" x=\"{}\" y=\"40\" style=\"display:none\">whole picture</text>\n",
             left);
  boxes.write("all", all, 0, 0);
  fmt::print(out, "<script><![CDATA[{}]]></script>\n</svg>\n", profile::flame_graph_script);
}

}  // namespace libprobe
