// Numbers and names in the outputs for people.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace libprobe::profile {

/// Nanoseconds in a unit that suits them, with three digits that count.
inline std::string duration(double ns) {
  constexpr struct {
    double ns;
    const char* name;
  } units[] = {{1e9, "s"}, {1e6, "ms"}, {1e3, "us"}};
  for (const auto& unit : units) {
    if (ns >= 0.9995 * unit.ns) return fmt::format("{:.3g} {}", ns / unit.ns, unit.name);
  }
  return fmt::format("{:.0f} ns", ns);
}

/// For the text and the attributes of XML.
inline std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      default:
        safe += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return safe;
}

}  // namespace libprobe::profile
