// Results of functions on a CPU that libprobe has no port to: see registers_null.hpp.
#pragma once

#include <libprobe/registers.hpp>
#include <libprobe/replacement.hpp>

namespace libprobe::detail {

template <class R>
result_registers result_registers_of() noexcept {
  return result_registers::none;
}
template <class R>
bool place_of_result_is_argument() noexcept {
  return false;
}
template <class R>
bool comes_in_registers() noexcept {
  return false;
}
template <class R>
R result_in(registers& /*regs*/) {
  __builtin_trap();
}
template <class R>
concept register_result = true;

}  // namespace libprobe::detail
