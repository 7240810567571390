// Where results of C++ types come back, and how they are read there. (System V ABI, 3.2.3)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <libprobe/registers.hpp>
#include <libprobe/replacement.hpp>
#include <type_traits>

extern "C" {
/// Returns with the result registers as `image` (a libprobe::detail::result_image) has them. Called, with the
/// image as both arguments, as a function of the type whose result it is to produce. Where such a result goes
/// to memory it says so in the image, and does no more.
void libprobe_load_result(void* image, void* same_image);
}

namespace libprobe::detail {

/// The registers that results come in, as they lie in memory. (System V ABI, 3.2.3)
struct result_image {
  std::uint64_t integers[2];  // rax, rdx
  std::byte vectors[32];      // xmm0, xmm1
  std::uint64_t in_memory;    // set by libprobe_load_result()
};

/// An R as a function returns it, made of the image.
template <class R>
R load_result(result_image& image) {
  const auto address = reinterpret_cast<std::uintptr_t>(&libprobe_load_result);
  return reinterpret_cast<R (*)(void*, void*)>(address)(&image, &image);
}

/// Where the ABI returns an R.
struct result_place {
  bool in_memory = false;
  result_registers registers = result_registers::none;
};

/// Asks the compiler: an R is made of marked registers, and the marks are looked for in it. Twice, with
/// different marks, since padding holds anything.
template <class R>
result_place ask_for_result() noexcept {
  union unborn {
    explicit unborn(result_image& from) : made(load_result<R>(from)) {}
    ~unborn() {}  // in memory nothing was made
    R made;
  };
  constexpr unsigned char marks[] = {1, 2, 4, 4, 8, 8};  // rax, rdx, then the halves of xmm0 and xmm1
  unsigned char bytes[2][sizeof(R)];
  for (unsigned round = 0; round < 2; ++round) {
    result_image image;
    auto* const marked = reinterpret_cast<unsigned char*>(&image);
    for (std::size_t i = 0; i < 8 * sizeof marks; ++i)
      marked[i] = static_cast<unsigned char>(marks[i / 8] + 16 * round);
    image.in_memory = 0;
    const unborn one{image};
    if (image.in_memory != 0) return {true, result_registers::first_integer};  // rax says where
    std::memcpy(bytes[round], static_cast<const void*>(&one.made), sizeof(R));
  }
  unsigned mask = 0;
  for (std::size_t i = 0; i < sizeof(R); ++i) {
    const unsigned mark = bytes[0][i];
    const bool known = mark == 1 || mark == 2 || mark == 4 || mark == 8;
    if (known && bytes[1][i] == mark + 16) mask |= mark;
  }
  if (mask == 0 && sizeof(R) >= sizeof(long double)) return {false, result_registers::x87};
  return {false, static_cast<result_registers>(mask)};
}

/// "Trivial for the purposes of calls" (Itanium C++ ABI, 3.1.1): not always in memory.
template <class R>
concept trivial_for_calls = std::is_trivially_destructible_v<R> &&
    (std::is_trivially_copy_constructible_v<R> || !std::is_copy_constructible_v<R>)&&(
        std::is_trivially_move_constructible_v<R> ||
        !std::is_move_constructible_v<R>)&&(std::is_copy_constructible_v<R> ||
                                            std::is_move_constructible_v<R>);

template <class R>
result_place place_of_result() noexcept {
  using enum result_registers;
  if constexpr (std::is_void_v<R> || (std::is_empty_v<R> && trivial_for_calls<R>)) {
    return {};
  } else if constexpr (std::is_reference_v<R>) {
    return {false, first_integer};
  } else if constexpr (std::is_same_v<std::remove_cv_t<R>, long double>) {
    return {false, x87};
  } else if constexpr (std::is_floating_point_v<R>) {
    return {false, first_vector};
  } else if constexpr (std::is_scalar_v<R>) {
    return {false, sizeof(R) > 8 ? first_integer | second_integer : first_integer};
  } else {
    return ask_for_result<R>();
  }
}
template <class R>
result_registers result_registers_of() noexcept {
  return place_of_result<R>().registers;
}

/// True where the caller says before all arguments where the result shall be.
template <class R>
bool place_of_result_is_argument() noexcept {
  return place_of_result<R>().in_memory;
}

/// True where result_in() finds it.
template <class R>
bool comes_in_registers() noexcept {
  const auto place = place_of_result<R>();
  return !place.in_memory && place.registers != result_registers::x87;
}

/// The result of a function that has just returned.
template <class R>
R result_in(registers& regs) {
  result_image image{{regs.rax, regs.rdx}, {}, 0};
  for (std::size_t i = 0; i < 2; ++i) std::memcpy(&image.vectors[16 * i], regs.xmm(i), 16);
  return load_result<R>(image);
}

/// The results that on_return() takes.
template <class R>
concept register_result = std::is_void_v<R> || std::is_reference_v<R> ||
    (!std::is_same_v<std::remove_cv_t<R>, long double> && sizeof(R) <= 16 && trivial_for_calls<R>);

}  // namespace libprobe::detail
