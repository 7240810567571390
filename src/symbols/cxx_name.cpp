#include "symbols/cxx_name.hpp"

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

namespace libprobe::symbols {
namespace {

constexpr std::string_view anonymous = "(anonymous namespace)";

bool is_word(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$';
}

std::string compact(std::string_view text) {
  std::string without;
  for (const char c : text) {
    if (c != ' ' && c != '\t') without += c;
  }
  return without;
}

// If the keyword stands at that place: the end of the operator's symbol, so that its brackets are not taken
// for those of a list. Else the place itself.
std::size_t after_operator(std::string_view text, std::size_t at) {
  constexpr std::string_view keyword = "operator";
  if (text.substr(at, keyword.size()) != keyword || (at != 0 && is_word(text[at - 1]))) return at;
  std::size_t end = at + keyword.size();
  if (end < text.size() && is_word(text[end])) return at;
  const std::string_view rest = text.substr(end);
  for (const std::string_view symbol : {"()", "[]", "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->",
                                        "<", ">", " new[]", " delete[]"}) {
    if (rest.starts_with(symbol)) return end + symbol.size();
  }
  return end;
}

// Walks over a name and tells each place outside of brackets, and each opening bracket there with its end.
template <class Plain, class Group>
void walk(std::string_view text, Plain plain, Group group) {
  std::size_t depth = 0;
  std::size_t opened = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (const std::size_t end = after_operator(text, at); end != at) {
      if (depth == 0) plain(at, end);
      at = end;
      continue;
    }
    const char c = text[at];
    if (c == '(' || c == '<' || c == '[' || c == '{') {
      if (depth++ == 0) opened = at;
    } else if (c == ')' || c == '>' || c == ']' || c == '}') {
      if (depth == 1) group(opened, at + 1);
      if (depth != 0) --depth;
    } else if (depth == 0) {
      plain(at, at + 1);
    }
    ++at;
  }
}

// All template arguments gone, or those at the very end only.
std::string without_arguments(std::string_view name, bool last_only) {
  std::string kept;
  std::size_t done = 0;
  walk(
      name, [](std::size_t, std::size_t) {},
      [&](std::size_t begin, std::size_t end) {
        if (name[begin] != '<' || (last_only && end != name.size())) return;
        kept += name.substr(done, begin - done);
        done = end;
      });
  return kept += name.substr(done);
}

void erase_all(std::string& text, std::string_view what) {
  for (std::size_t at; (at = text.find(what)) != std::string::npos;) text.erase(at, what.size());
}

// Without what the compiler adds to names that people do not write.
std::string loosened(std::string text) {
  erase_all(text, "(anonymous namespace)::");
  erase_all(text, "(anonymousnamespace)::");
  erase_all(text, "__cxx11::");
  for (std::size_t at; (at = text.find("[abi:")) != std::string::npos;) {
    const std::size_t end = text.find(']', at);
    text.erase(at, end == std::string::npos ? end : end - at + 1);
  }
  return text;
}

bool names_match(const std::string& wanted_name, const std::string& name) {
  const std::string wanted = compact(wanted_name);
  return wanted == compact(name) || wanted == compact(without_arguments(name, true)) ||
         wanted == compact(without_arguments(name, false));
}

// The parts between "::" outside of brackets, without template and function arguments.
std::vector<std::string> components(std::string_view name) {
  std::vector<std::string> parts(1);
  walk(
      name,
      [&](std::size_t begin, std::size_t end) {
        if (name[begin] == ':') {
          if (!parts.back().empty()) parts.emplace_back();
        } else {
          parts.back() += name.substr(begin, end - begin);
        }
      },
      [](std::size_t, std::size_t) {});
  return parts;
}

// Some names of the standard library have abbreviations, and operators none in letters.
bool is_spelled_out(std::string_view component) {
  constexpr std::array abbreviated = {"std",      "allocator",      "basic_string", "string",
                                      "istream",  "basic_istream",  "ostream",      "basic_ostream",
                                      "iostream", "basic_iostream", "operator"};
  if (component.empty()) return false;
  for (const std::string_view one : abbreviated) {
    if (component == one) return false;
  }
  for (const char c : component) {
    if (!is_word(c)) return false;
  }
  return !(component.front() >= '0' && component.front() <= '9') && !component.starts_with("operator");
}

// Rust's older mangling: "_ZN", the path's parts, as the last of them 'h' and 16 hexadecimal digits, "E". No
// C++ function is called so, since its parameters stand behind that.
constexpr std::string_view rust_hash_length = "17h";  // before the digits
constexpr std::size_t rust_hash_digits = 16;
constexpr std::size_t rust_hash_bytes = std::string_view{"::h"}.size() + rust_hash_digits;

/// How much of the name is Rust's; behind that LLVM puts ".llvm.123" where one object's function has become
/// another's, too. 0: the name is another's.
std::size_t rust_length(std::string_view name) noexcept {
  if (!name.starts_with("_ZN")) return 0;
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  constexpr std::size_t tail = rust_hash_length.size() + rust_hash_digits + 1;
  std::size_t end = name.size();
  if (const auto added = name.rfind(".llvm.");
      added != std::string_view::npos &&
      name.find_first_not_of("0123456789", added + 6) == std::string_view::npos)
    end = added;
  if (end < tail || name[end - 1] != 'E') return 0;
  const auto hash = name.substr(end - tail, tail - 1);
  if (!hash.starts_with(rust_hash_length)) return 0;
  for (const char c : hash.substr(rust_hash_length.size())) {
    if (!is_digit(c)) return 0;
  }
  return end;
}

// The newer one, "_R" and a path's kind, is asked about; what the system's demangler does not know stays.
bool is_rust_v0(std::string_view name) noexcept {
  return name.size() > 2 && name.starts_with("_R") &&
         std::string_view{"CMXYNIB"}.find(name[2]) != std::string_view::npos;
}

/// "$LT$T$GT$" for "<T>", ".." for "::": what identifiers of the older mangling may not have in them.
std::string without_rust_escapes(std::string_view text) {
  constexpr std::pair<std::string_view, std::string_view> escapes[] = {
      {"$LT$", "<"}, {"$GT$", ">"}, {"$LP$", "("}, {"$RP$", ")"}, {"$RF$", "&"},
      {"$BP$", "*"}, {"$C$", ","},  {"$SP$", "@"}, {"..", "::"},
  };
  std::string plain;
  for (std::size_t at = 0; at < text.size();) {
    const auto rest = text.substr(at);
    const bool begins = at == 0 || text.substr(0, at).ends_with("::");
    if (begins && rest.starts_with("_$")) {  // an identifier does not begin with '$'
      ++at;
      continue;
    }
    const auto* const known = std::find_if(std::begin(escapes), std::end(escapes),
                                           [&](const auto& e) { return rest.starts_with(e.first); });
    if (known != std::end(escapes)) {
      plain += known->second;
      at += known->first.size();
      continue;
    }
    if (const auto end = rest.find('$', 2); rest.starts_with("$u") && end != std::string_view::npos) {
      unsigned value = 0;
      const auto [stop, error] = std::from_chars(rest.data() + 2, rest.data() + end, value, 16);
      if (error == std::errc{} && stop == rest.data() + end && value >= ' ' && value < 0x7f) {
        plain += static_cast<char>(value);
        at += end + 1;
        continue;
      }
    }
    plain += text[at++];
  }
  return plain;
}

std::string as_demangler_has_it(std::string_view name) {
  if (!is_mangled(name)) return std::string{name};
  const std::string terminated{name};
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text{
      abi::__cxa_demangle(terminated.c_str(), nullptr, nullptr, &status), &std::free};
  return status == 0 && text != nullptr ? std::string{text.get()} : terminated;
}

// "vtable for", "non-virtual thunk to", "guard variable for": about the thing named, not the thing itself.
bool is_about_another(std::string_view mangled) {
  return mangled.starts_with("_ZT") || mangled.starts_with("_ZG");
}

}  // namespace

bool is_mangled(std::string_view name) noexcept { return name.starts_with("_Z") || is_rust_v0(name); }

std::string demangled(std::string_view name) {
  const std::size_t rust = rust_length(name);
  auto text = as_demangler_has_it(rust != 0 ? name.substr(0, rust) : name);
  if (rust == 0 || text == name) return text;
  if (text.size() > rust_hash_bytes) text.resize(text.size() - rust_hash_bytes);
  return without_rust_escapes(text);
}

bool is_clone(std::string_view name) noexcept {
  // Rust's own names may have dots in them.
  return rust_length(name) == 0 && name.find('.', 1) != std::string_view::npos;
}

cxx_name cxx_name::split(std::string_view demangled) {
  // The parameters are the last parentheses that do not belong to an enclosing function or namespace.
  std::size_t open = std::string_view::npos;
  std::size_t close = std::string_view::npos;
  walk(
      demangled, [](std::size_t, std::size_t) {},
      [&](std::size_t begin, std::size_t end) {
        if (demangled[begin] != '(' || demangled.substr(begin, end - begin) == anonymous) return;
        std::string_view rest = demangled.substr(end);
        if (rest.starts_with(" const")) rest.remove_prefix(6);
        if (rest.starts_with("::")) return;
        open = begin;
        close = end;
      });
  cxx_name parts;
  if (open != std::string_view::npos) {
    parts.parameters = compact(demangled.substr(open, close - open));
    parts.suffix = compact(demangled.substr(close));
    demangled = demangled.substr(0, open);
  }
  // A return type is printed for templates. An operator's own name may have a space: look only before it.
  std::size_t begin = 0;
  bool in_operator = false;
  walk(
      demangled,
      [&](std::size_t at, std::size_t end) {
        if (end - at > 1) in_operator = true;
        if (demangled[at] == ' ' && !in_operator && !demangled.substr(end).starts_with("const::"))
          begin = end;
      },
      [](std::size_t, std::size_t) {});
  parts.name = demangled.substr(begin);
  return parts;
}

cxx_query::cxx_query(std::string_view text) : compact_{compact(text)}, wanted_{cxx_name::split(text)} {
  const auto parts = components(wanted_.name);
  for (auto part = parts.rbegin(); part != parts.rend() && identifier_.empty(); ++part) {
    std::string_view word = *part;
    if (word.starts_with('~')) word.remove_prefix(1);
    if (is_spelled_out(word)) identifier_ = word;
  }
}

cxx_query::match cxx_query::compare(std::string_view mangled, std::string_view demangled) const {
  if (compact(demangled) == compact_) return match::exact;
  // With its hash, to tell one from another.
  if (const auto rust = rust_length(mangled);
      rust != 0 && compact(without_rust_escapes(as_demangler_has_it(mangled.substr(0, rust)))) == compact_)
    return match::exact;
  if (is_about_another(mangled)) return match::none;
  const cxx_name candidate = cxx_name::split(demangled);
  const bool any_overload = wanted_.parameters.empty();
  const bool same_suffix = wanted_.suffix == candidate.suffix;
  if ((any_overload || (same_suffix && wanted_.parameters == candidate.parameters)) &&
      names_match(wanted_.name, candidate.name)) {
    return match::exact;
  }
  const bool loose_overload = (same_suffix || wanted_.suffix.empty()) &&
                              loosened(wanted_.parameters) == loosened(candidate.parameters);
  if ((any_overload || loose_overload) && names_match(loosened(wanted_.name), loosened(candidate.name))) {
    return match::loose;
  }
  return match::none;
}

}  // namespace libprobe::symbols
