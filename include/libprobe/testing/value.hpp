// Arguments and results: how they are kept beyond the call, printed, and matched.
#pragma once

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace libprobe {

/// What a `const char*` pointed to when the call began: the characters up to the first zero, or as many as
/// are kept. Empty where the pointer was null or led nowhere.
struct text : std::string {
  const char* pointer = nullptr;
  bool cut = false;  ///< it was longer
};

/// Stands for what cannot be copied, and is not kept.
struct not_kept {
  const void* address = nullptr;
  friend bool operator==(const not_kept& a, const not_kept& b) noexcept { return a.address == b.address; }
};

/// Fits every value.
struct anything_type {
  template <class T>
  constexpr bool operator()(const T& /*unused*/) const noexcept {
    return true;
  }
};
inline constexpr anything_type anything{};

/// Prints a value the way failures show it. Overload `operator<<` for types of your own.
template <class T>
void print_value(std::ostream& out, const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    out << (value ? "true" : "false");
  } else if constexpr (std::is_same_v<T, text>) {
    if (value.pointer == nullptr) {
      out << "null";
    } else {
      out << '"' << static_cast<const std::string&>(value) << (value.cut ? "\"..." : "\"");
    }
  } else if constexpr (std::is_same_v<T, not_kept>) {
    out << "(not kept)";
  } else if constexpr (std::is_null_pointer_v<T>) {
    out << "null";
  } else if constexpr (std::is_function_v<std::remove_pointer_t<T>> && std::is_pointer_v<T>) {
    print_value(out, reinterpret_cast<const void*>(value));
  } else if constexpr (std::is_pointer_v<T>) {
    if (value == nullptr) {
      out << "null";
    } else {
      out << const_cast<const void*>(static_cast<const volatile void*>(value));
    }
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    out << '"' << std::string_view{value} << '"';
  } else if constexpr (std::is_enum_v<T>) {
    print_value(out, static_cast<std::underlying_type_t<T>>(value));
  } else if constexpr (std::is_integral_v<T> && sizeof(T) == 1) {
    out << static_cast<int>(value);
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << '(' << sizeof(T) << "-byte object)";
  }
}

namespace detail {

/// How an argument of type A is kept: `stored` while the call is recorded, where nothing may be allocated,
/// `shown` when the test asks.
template <class A>
struct keeping {
  using plain = std::remove_cvref_t<A>;
  static constexpr bool possible = std::is_copy_constructible_v<plain>;
  using stored = std::conditional_t<possible, plain, not_kept>;
  using shown = stored;
  static stored store(const plain& value) {
    if constexpr (possible) {
      return value;
    } else {
      return {&value};
    }
  }
  static const shown& show(const stored& value) { return value; }
};

struct stored_text {
  static constexpr std::size_t most = 244;
  const char* pointer = nullptr;
  std::uint16_t length = 0;
  bool cut = false;
  char characters[most];
};

template <class A>
requires std::is_same_v < std::remove_cvref_t<A>,
const char* > struct keeping<A> {
  using stored = stored_text;
  using shown = text;
  // It need not be a string at all: the kernel reads, and stops where nothing is mapped.
  static stored store(const char* pointer) noexcept {
    stored_text kept;
    kept.pointer = pointer;
    std::size_t done = 0;
    while (pointer != nullptr && done < stored_text::most) {
      constexpr std::size_t step = 4096;  // whole pages are readable or not
      const auto left = step - reinterpret_cast<std::uintptr_t>(pointer + done) % step;
      const auto want = std::min(left, stored_text::most - done);
      const iovec to{kept.characters + done, want};
      const iovec from{const_cast<char*>(pointer) + done, want};
      if (::process_vm_readv(::getpid(), &to, 1, &from, 1, 0) != static_cast<ssize_t>(want)) break;
      const auto* const end = static_cast<const char*>(std::memchr(to.iov_base, 0, want));
      if (end != nullptr) {
        kept.length = static_cast<std::uint16_t>(end - kept.characters);
        return kept;
      }
      done += want;
    }
    kept.length = static_cast<std::uint16_t>(done);
    kept.cut = done == stored_text::most;
    return kept;
  }
  static shown show(const stored& kept) {
    text made;
    made.assign(kept.characters, kept.length);
    made.pointer = kept.pointer;
    made.cut = kept.cut;
    return made;
  }
};

template <class T>
inline constexpr bool is_number =
    std::is_integral_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, char>;

/// Whether what a test expects fits a value: a predicate, or something to compare with. GoogleTest's header
/// adds its matchers.
template <class T, class Expected>
struct matching {
  static bool matches(const T& value, const Expected& expected) {
    if constexpr (std::is_invocable_r_v<bool, const Expected&, const T&>) {
      return expected(value);
    } else {
      static_assert(
          requires { value == expected; },
          "neither comparable with the argument nor a predicate; for GoogleMock's matchers "
          "include <libprobe/testing/googletest.hpp>");
      if constexpr (is_number<T> && is_number<Expected>) {
        return std::cmp_equal(value, expected);  // was_called_with(5), whatever the argument's signedness
      } else {
        return value == expected;
      }
    }
  }
  static void describe(std::ostream& out, const Expected& expected) {
    if constexpr (std::is_same_v<Expected, anything_type>) {
      out << "anything";
    } else if constexpr (std::is_invocable_r_v<bool, const Expected&, const T&>) {
      out << "what the predicate takes";
    } else if constexpr (std::is_same_v<T, text> && std::is_convertible_v<const Expected&, const char*>) {
      out << '"' << expected << '"';
    } else {
      print_value(out, expected);
    }
  }
};

}  // namespace detail
}  // namespace libprobe
