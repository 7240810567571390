// What a function's type says: its result, its arguments, and how many bytes of them may lie on the stack.
#pragma once

#include <cstddef>
#include <tuple>
#include <type_traits>

namespace libprobe::detail {

/// True if all arguments come in registers, for certain: scalars, and few enough. (System V ABI, 3.2.3; one
/// of the six is left for where a result in memory goes.)
template <class... A>
constexpr bool arguments_in_registers() noexcept {
  constexpr auto integers =
      (std::size_t{0} + ... +
       (std::is_reference_v<A> || std::is_pointer_v<A> || std::is_integral_v<A> || std::is_enum_v<A>));
  constexpr auto floats =
      (std::size_t{0} + ... +
       (std::is_same_v<std::remove_cv_t<A>, float> || std::is_same_v<std::remove_cv_t<A>, double>));
  constexpr bool narrow = (true && ... && (std::is_reference_v<A> || sizeof(A) <= sizeof(void*)));
  return narrow && integers <= 5 && floats <= 8 && integers + floats == sizeof...(A);
}

/// How much of a variadic call's stack is looked at for arguments behind the fixed ones.
inline constexpr std::size_t variadic_stack_bytes = 256;

/// A function's types. A member function's object comes first, as a pointer.
template <class F>
struct signature;
template <class R, class... A>
struct signature<R(A...)> {
  using result = R;
  using function = R(A...);
  using fixed = R(A...);  // without the "..." of a variadic one
  using arguments = std::tuple<A...>;
  // An upper bound of the argument area: as if every argument were on the stack, each aligned to at most 64
  // bytes.
  static constexpr std::size_t stack_bytes =
      arguments_in_registers<A...>()
          ? 0
          : (std::size_t{0} + ... + ((sizeof(A) + 7) / 8 * 8 + (alignof(A) > 8 ? alignof(A) : 0)));
};
template <class R, class... A>
struct signature<R(A..., ...)> : signature<R(A...)> {
  using function = R(A..., ...);
  static constexpr std::size_t stack_bytes = signature<R(A...)>::stack_bytes + variadic_stack_bytes;
};
template <class R, class... A>
struct signature<R(A...) noexcept> : signature<R(A...)> {};
template <class R, class... A>
struct signature<R(A..., ...) noexcept> : signature<R(A..., ...)> {};
template <class F>
requires std::is_function_v<F>
struct signature<F*> : signature<F> {
};

// Of member functions: each mixture of const, volatile, & and &&, noexcept or not, variadic or not.
#define LIBPROBE_MEMBER_SIGNATURE(qualifiers)                          \
  template <class R, class C, bool N, class... A>                      \
  struct signature<R (C::*)(A...) qualifiers noexcept(N)>              \
      : signature<R(std::remove_reference_t<C qualifiers>*, A...)> {}; \
  template <class R, class C, bool N, class... A>                      \
  struct signature<R (C::*)(A..., ...) qualifiers noexcept(N)>         \
      : signature<R(std::remove_reference_t<C qualifiers>*, A..., ...)> {};
LIBPROBE_MEMBER_SIGNATURE()
LIBPROBE_MEMBER_SIGNATURE(const)
LIBPROBE_MEMBER_SIGNATURE(volatile)
LIBPROBE_MEMBER_SIGNATURE(const volatile)
LIBPROBE_MEMBER_SIGNATURE(&)
LIBPROBE_MEMBER_SIGNATURE(const&)
LIBPROBE_MEMBER_SIGNATURE(volatile&)
LIBPROBE_MEMBER_SIGNATURE(const volatile&)
LIBPROBE_MEMBER_SIGNATURE(&&)
LIBPROBE_MEMBER_SIGNATURE(const&&)
LIBPROBE_MEMBER_SIGNATURE(volatile&&)
LIBPROBE_MEMBER_SIGNATURE(const volatile&&)
#undef LIBPROBE_MEMBER_SIGNATURE

}  // namespace libprobe::detail
