// The arguments behind the fixed ones of a variadic call: taken up in one variadic function, and given to
// another. What the typed layer and the fixtures call the original of a variadic function by.
#pragma once

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <libprobe/signature.hpp>
#include <type_traits>
#include <utility>

namespace libprobe::detail {

/// As registers and stack hold them, of whatever types they are: those in registers, and
/// variadic_stack_bytes of the stack. (System V ABI, 3.2.3 and 3.5.7)
template <class F>
class variadic_rest;
template <class R, class... A>
class variadic_rest<R(A...)> {
  template <class T>
  static constexpr bool is_vector =
      std::is_same_v<std::remove_cv_t<T>, float> || std::is_same_v<std::remove_cv_t<T>, double>;
  template <class T>
  static constexpr bool is_integer = std::is_reference_v<T> || std::is_pointer_v<T> || std::is_enum_v<T> ||
                                     (std::is_integral_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  static_assert(((is_vector<A> || is_integer<A>)&&...),
                "the fixed arguments of a variadic function must be scalars, or references, that come in one "
                "register each");
  static_assert(std::is_void_v<R> || std::is_reference_v<R> || std::is_scalar_v<R>,
                "a variadic function's result must be a scalar or a reference");

  using vector = double __attribute__((vector_size(16)));
  static constexpr std::size_t left(std::size_t registers, std::size_t taken) {
    return registers - std::min(registers, taken);
  }
  static constexpr std::size_t integers = left(6, (std::size_t{0} + ... + is_integer<A>));
  static constexpr std::size_t vectors = left(8, (std::size_t{0} + ... + is_vector<A>));
  static constexpr std::size_t words = integers + variadic_stack_bytes / sizeof(std::uint64_t);

 public:
  using function = R (*)(A..., ...);

  /// `list`: behind the fixed arguments. It may not be used afterwards but for va_end().
  explicit variadic_rest(std::va_list list) noexcept {
    std::va_list again;
    va_copy(again, list);
    for (auto& one : vectors_) one = va_arg(again, vector);
    va_end(again);
    for (auto& one : words_) one = va_arg(list, std::uint64_t);
  }
  R call(function which, A... fixed) const {
    return call(which, std::make_index_sequence<words>{}, std::make_index_sequence<vectors>{},
                std::forward<A>(fixed)...);
  }

 private:
  // Registers are filled in order, whatever stands between: what is left of the words goes to the stack.
  template <std::size_t... W, std::size_t... V>
  R call(function which, std::index_sequence<W...> /*words*/, std::index_sequence<V...> /*vectors*/,
         A... fixed) const {
    return which(std::forward<A>(fixed)..., vectors_[V]..., words_[W]...);
  }

  std::array<vector, vectors> vectors_;
  std::array<std::uint64_t, words> words_;
};

/// A variadic function for `Serve(rest, fixed...)`.
template <class F, auto Serve>
struct variadic_entry;
template <class R, class... A, auto Serve>
struct variadic_entry<R(A...), Serve> {
  static R run(A... fixed, ...) {
    std::va_list list;
// Compilers miss the name of the last argument, which a pack's has none of and none of them needs.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wvarargs"
    __builtin_va_start(list, 0);
#pragma GCC diagnostic pop
    const variadic_rest<R(A...)> rest{list};
    va_end(list);
    return Serve(rest, std::forward<A>(fixed)...);
  }
};

}  // namespace libprobe::detail

namespace libprobe {

/// The original of a variadic function, in its replacement: called with the fixed arguments alone it gets
/// what the caller gave behind those, too (as far as that lies in registers and the first 256 bytes of the
/// stack); called with more it gets these instead. Valid during the call. Converts to the plain pointer.
template <class F>
class variadic_original;
template <class R, class... A>
class variadic_original<R(A...)> {
 public:
  using pointer = R (*)(A..., ...);
  variadic_original(pointer function, const detail::variadic_rest<R(A...)>& rest) noexcept
      : function_{function}, rest_{&rest} {}

  R operator()(A... fixed) const { return rest_->call(function_, std::forward<A>(fixed)...); }
  template <class... More>
  requires(sizeof...(More) != 0) R operator()(A... fixed, More... more) const {
    return function_(std::forward<A>(fixed)..., more...);
  }
  operator pointer() const noexcept { return function_; }  // NOLINT(google-explicit-constructor)

 private:
  pointer function_;
  const detail::variadic_rest<R(A...)>* rest_;
};

}  // namespace libprobe
