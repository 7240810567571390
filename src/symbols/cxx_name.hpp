// C++ and Rust names as people write them, and how they compare with the demangled names of symbols.
#pragma once

#include <string>
#include <string_view>

namespace libprobe::symbols {

/// True if it may be a C++ or Rust symbol's linker name.
bool is_mangled(std::string_view name) noexcept;

/// The C++ name of a symbol, with its parameters; Rust's path without the hash behind it; the name itself
/// where it is neither. Allocates.
std::string demangled(std::string_view name);

/// Whether the compiler made the symbol out of a function that the user knows: "f.cold", "f.part.0".
bool is_clone(std::string_view name) noexcept;

/// A demangled name taken apart. What stands before the name (a return type) is dropped.
struct cxx_name {
  std::string name;        // qualified, with template arguments
  std::string parameters;  // with the parentheses and without spaces; empty: there are none
  std::string suffix;      // const, &, ...; without spaces

  static cxx_name split(std::string_view demangled);
};

/// What a user asked for: "ns::Widget::draw", "ns::f(int)".
class cxx_query {
 public:
  explicit cxx_query(std::string_view text);

  /// An identifier that every mangled name of it must have in it; empty: none can be told.
  [[nodiscard]] const std::string& identifier() const noexcept { return identifier_; }

  enum class match {
    exact,
    loose,  // but for an anonymous namespace, an ABI tag, a const behind it that the query does not have
    none,
  };
  /// Parameters and template arguments count only if the query has them.
  [[nodiscard]] match compare(std::string_view mangled, std::string_view demangled) const;

 private:
  std::string compact_;  // the whole text without spaces
  cxx_name wanted_;
  std::string identifier_;
};

}  // namespace libprobe::symbols
