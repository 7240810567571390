// Register values that make a memory operand point where it should.
#include "hardware.hpp"

namespace hardware {

namespace {

constexpr unsigned none = 16;

/// The multiplicative inverse of an odd number modulo 2^64, by Newton's iteration.
std::uint64_t inverse(std::uint64_t odd) {
  std::uint64_t x = odd;
  for (int i = 0; i < 6; ++i) x *= 2 - odd * x;
  return x;
}

}  // namespace

std::uintptr_t aim(const libprobe::arch::instruction& what, std::uintptr_t target, trial& t, rng& random) {
  using form = libprobe::arch::instruction::form;
  if (!what.has_modrm || what.mod() == 3 || what.rip_relative) return target;
  const auto displacement = static_cast<std::uint64_t>(what.displacement);
  unsigned base = what.rm(), index = none, scale = 0;
  if (what.has_sib) {
    base =
        (what.sib & 7U) == 5 && what.mod() == 0 ? none : (what.sib & 7U) | ((what.rex & 1U) != 0 ? 8U : 0U);
    index = ((what.sib >> 3) & 7U) | ((what.rex & 2U) != 0 ? 8U : 0U);
    scale = what.sib >> 6;
    // Gathers and scatters: the index is a vector of small numbers.
    if (t.small_vectors && what.encoding != form::legacy) index = rsp;
    if (index == rsp) index = none;
  }
  auto* gpr = t.in.gpr;
  const std::uint64_t mask = what.address_size ? 0xffff'ffff : ~std::uint64_t{0};
  if (base == none && index == none) return displacement & mask;
  if (base == none) {
    gpr[index] = (target - displacement) >> scale;
  } else if (index == none) {
    if (base == rsp) return (gpr[rsp] + displacement) & mask;
    gpr[base] = target - displacement;
  } else if (base == index) {
    // (1 + 2^scale) * register: odd, so it can be divided by, except for 2.
    gpr[base] = scale == 0 ? (target - displacement) / 2
                           : (target - displacement) * inverse((std::uint64_t{1} << scale) + 1);
  } else if (base == rsp) {
    const std::uint64_t on_stack = gpr[rsp] + 64 * (random() % 16);
    const auto distance = static_cast<std::int64_t>(on_stack - gpr[rsp] - displacement);
    gpr[index] = static_cast<std::uint64_t>(distance >> scale);
  } else {
    gpr[base] = target - displacement - (gpr[index] << scale);
  }
  const std::uint64_t sum =
      (base == none ? 0 : gpr[base]) + (index == none ? 0 : gpr[index] << scale) + displacement;
  return sum & mask;
}

}  // namespace hardware
