#include "tables.hpp"

#include <algorithm>
#include <functional>
#include <map>
#include <string>

#include "text.hpp"

using text::grouped;

void print_functions(const std::deque<watched_function>& functions, std::size_t top) {
  std::vector<const watched_function*> ranked;
  for (const auto& f : functions) ranked.push_back(&f);
  std::ranges::stable_sort(ranked, std::greater{}, [](const auto* f) { return libprobe::hits(f->probe); });
  const auto hit = std::ranges::count_if(ranked, [](const auto* f) { return libprobe::hits(f->probe) != 0; });
  fmt::print("\nFunctions: {} probed, {} of them hit\n", ranked.size(), hit);
  fmt::print("  {:<30} {:>14} {:>16} {:>16} {:>8}\n", "function", "hits", "by the program", "by the library",
             "missed");
  for (const auto* f : std::span{ranked}.first(std::min(top, ranked.size()))) {
    const auto all = libprobe::hits(f->probe);
    const auto outside = f->from_outside.load();
    fmt::print("  {:<30} {:>14} {:>16} {:>16} {:>8}\n", f->what.name, grouped(all), grouped(outside),
               grouped(all - outside), grouped(libprobe::nmissed(f->probe)));
  }
}

void print_hot(const std::deque<watched_code>& codes) {
  fmt::print("\nFunctions probed at every instruction\n");
  fmt::print("  {:<30} {:>14} {:>16}\n", "function", "instructions", "hits");
  for (const auto& c : codes) {
    fmt::print("  {:<30} {:>14} {:>16}\n", c.what.name, c.code.size(), grouped(c.hits()));
  }
}

void print_code(const watched_code& c) {
  constexpr std::size_t longest = 60;
  std::map<std::uintptr_t, std::string> methods;
  for (const auto& row : libprobe::list_probes()) methods[row.address] = row.method;
  std::uint64_t most = 1;
  for (const auto& p : c.probes) most = std::max(most, libprobe::hits(p));

  fmt::print("\n{}, instruction by instruction\n", c.what.name);
  fmt::print("  {:>8} {:>14}  {:<12} {:<9} {}\n", "offset", "hits", "", "run", "instruction");
  for (std::size_t i = 0; i < std::min(c.code.size(), longest); ++i) {
    const auto hits = libprobe::hits(c.probes[i]);
    fmt::print("  {:>8} {:>14}  {:<12} {:<9} {}\n", fmt::format("+{:#x}", c.code[i].address - c.what.start),
               grouped(hits), std::string(hits * 12 / most, '#'), methods[c.code[i].address], c.code[i].text);
  }
  if (c.code.size() > longest) fmt::print("  ... and {} more\n", c.code.size() - longest);
}

const watched_code& most_readable(const std::deque<watched_code>& codes) {
  constexpr std::size_t screen = 60;
  const watched_code* best = &codes.front();
  for (const auto& c : codes) {
    const auto size = c.code.size();
    const auto best_size = best->code.size();
    if (size <= screen && (size > best_size || best_size > screen)) best = &c;
  }
  return *best;
}
