// Where a probe goes: a function, an address, or a name that is looked up when the probe is registered.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace libprobe {

/// A place in the code of this process. Made implicitly from a function pointer, an address or a string;
/// nothing is looked up before registration, so making one never fails.
///
/// - A function pointer names the code that really runs: PLT stubs and IFUNCs are followed.
/// - An address is taken as it is, and must be an instruction's first byte. It is a `const void*`: a
/// `const char*` is
///   a name, even if it points to code; registration then says so.
/// - A string is `"symbol"`, `"symbol+0x10"`, `"module:symbol+4"` or `"0x55..."`. A module is matched by
/// soname
///   or file name. Static functions and demangled C++ names (`"ns::Widget::draw"`, `"ns::f(int)"`) are found
///   too.
class location {
 public:
  enum class kind : unsigned char {
    unborn,  // zeroed memory: a global object whose constructor has not run yet
    none,
    function,
    address,
    name
  };

  location() = default;

  template <class R, class... A>
  location(R (*function)(A...)) noexcept  // NOLINT(google-explicit-constructor)
      : kind_{kind::function}, address_{reinterpret_cast<std::uintptr_t>(function)} {}
  template <class R, class... A>
  location(R (*function)(A..., ...)) noexcept  // NOLINT(google-explicit-constructor)
      : kind_{kind::function}, address_{reinterpret_cast<std::uintptr_t>(function)} {}
  /// Non-virtual member functions. A pointer to a virtual one names no code: registration refuses it.
  template <class Member>
  requires std::is_member_function_pointer_v<Member> location(Member function)
  noexcept  // NOLINT(google-explicit-constructor)
      : location{from_member(function)} {}

  location(const void* address) noexcept  // NOLINT(google-explicit-constructor)
      : kind_{kind::address}, address_{reinterpret_cast<std::uintptr_t>(address)} {}
  location(const char* name)
      : kind_{name != nullptr ? kind::name : kind::none} {  // NOLINT(google-explicit-constructor)
    if (name == nullptr) return;
    name_ = name;
    address_ = reinterpret_cast<std::uintptr_t>(name);
  }
  location(std::string name) noexcept
      : kind_{kind::name}, name_{std::move(name)} {}                   // NOLINT(google-explicit-constructor)
  location(std::string_view name) : kind_{kind::name}, name_{name} {}  // NOLINT(google-explicit-constructor)
  location(std::nullptr_t) noexcept {}                                 // NOLINT(google-explicit-constructor)

  [[nodiscard]] kind what() const noexcept { return kind_; }
  /// The function's or the plain address; 0 for a name.
  [[nodiscard]] std::uintptr_t address() const noexcept { return kind_ == kind::name ? 0 : address_; }
  /// Where the characters of a name lay that was given as const char*: in code, if it is an address that was
  /// cast to that by mistake. Else 0.
  [[nodiscard]] std::uintptr_t name_lay_at() const noexcept { return kind_ == kind::name ? address_ : 0; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  // Itanium C++ ABI 2.3: the first word is the code address, or an odd vtable offset plus one when virtual.
  template <class Member>
  static location from_member(Member function) noexcept {
    struct parts {
      std::uintptr_t code;
      std::ptrdiff_t adjustment;
    };
    static_assert(sizeof(Member) == sizeof(parts));
    const auto code = std::bit_cast<parts>(function).code;
    location where;
    if ((code & 1) == 0) {
      where.kind_ = kind::function;
      where.address_ = code;
    }
    return where;
  }

  kind kind_ = kind::none;
  std::uintptr_t address_ = 0;
  std::string name_;
};

}  // namespace libprobe
