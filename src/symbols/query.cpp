#include "symbols/query.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace libprobe::symbols {
namespace {

std::optional<std::uintptr_t> number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  std::uintptr_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

constexpr std::size_t nowhere = std::string_view::npos;

// A single ':' parts the module from the symbol; "::" belongs to C++, and so does whatever stands in brackets
// ("{lambda(auto:1)#1}", "[abi:cxx11]").
std::size_t find_separator(std::string_view text) {
  std::size_t depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '(' || c == '<' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == '>' || c == ']' || c == '}') && depth != 0) --depth;
    if (c != ':' || depth != 0) continue;
    const std::size_t run = std::min(text.find_first_not_of(':', at), text.size()) - at;
    if (run % 2 != 0) return at;  // three: a ':' and a leading "::"
    at += run - 1;
  }
  return nowhere;
}

// The '+' before an offset, as opposed to those of operator+, operator++, operator+= and of template
// arguments.
std::size_t find_offset(std::string_view text) {
  const std::size_t plus = text.rfind('+');
  if (plus == nowhere) return nowhere;
  const std::string_view before = text.substr(0, plus);
  const std::string_view behind = text.substr(plus + 1);
  if (behind.find_first_of(")>]}") != nowhere) return nowhere;
  const bool is_digit = !behind.empty() && behind.front() >= '0' && behind.front() <= '9';
  if (!is_digit && (before.ends_with("operator") || before.ends_with("operator+"))) return nowhere;
  return plus;
}

}  // namespace

result<query> parse(std::string_view text, std::string& detail) {
  const auto refuse = [&](std::string_view why) {
    detail = fmt::format("\"{}\": {}", text, why);
    return errc::malformed_location;
  };
  if (text.find_first_not_of(" \t") == nowhere) return refuse("no name");
  if (std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < ' ' && c != '\t'; })) {
    detail =
        "a control character in the name: if it is code, give its address as const void*, not as const char*";
    return errc::malformed_location;
  }

  query parts;
  std::string_view symbol = text;
  if (const std::size_t separator = find_separator(text); separator != nowhere) {
    parts.module = text.substr(0, separator);
    symbol = text.substr(separator + 1);
    if (parts.module.empty()) return refuse("no module before ':'");
    if (find_separator(symbol) != nowhere) return refuse("more than one ':'");
  }
  if (const std::size_t plus = find_offset(symbol); plus != nowhere) {
    const auto offset = number(symbol.substr(plus + 1));
    if (!offset) return refuse("the offset behind '+' is no number");
    parts.offset = *offset;
    symbol = symbol.substr(0, plus);
  }
  if (symbol.starts_with("::")) symbol.remove_prefix(2);
  if (symbol.find_first_not_of(" \t") == nowhere) return refuse("no symbol");
  if (symbol.front() >= '0' && symbol.front() <= '9') {
    const auto address = number(symbol);
    if (!address || !symbol.starts_with("0x")) return refuse("neither a name nor an address like 0x55aa");
    if (!parts.module.empty()) return refuse("an address needs no module");
    if (*address + parts.offset < *address) return refuse("beyond the last address");
    parts.offset += *address;
    return parts;
  }
  if (const std::size_t at = symbol.find('@'); at != nowhere && at != 0) {
    std::string_view version = symbol.substr(at + 1);
    if (version.starts_with('@')) version.remove_prefix(1);
    if (version.empty()) return refuse("no version behind '@'");
    parts.version = version;
    symbol = symbol.substr(0, at);
  }
  parts.symbol = symbol;
  return parts;
}

}  // namespace libprobe::symbols
