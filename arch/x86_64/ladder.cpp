// The ladder: each tactic is one function that returns a shape or nothing.
#include <algorithm>
#include <cstring>
#include <optional>

#include "arch/patch.hpp"

namespace libprobe::arch {

namespace {

constexpr std::uint8_t jump_opcode = 0xe9;
// An operand-size prefix would cut the target on AMD; these mean nothing to a near jump.
constexpr std::uint8_t redundant_prefixes[most_prefixes] = {0x3e, 0x26, 0x36};

std::uint8_t narrow(std::size_t value) noexcept { return static_cast<std::uint8_t>(value); }

/// Bits 1 to end - 1.
std::uint32_t inside(std::size_t end) noexcept { return ((1U << end) - 1) & ~1U; }

/// Executing it goes on somewhere else, or pushes the address behind it, which nobody shall see in a window.
bool is_call(const instruction& what) noexcept {
  if (what.encoding != instruction::form::legacy || what.map != instruction::one_byte) return false;
  const unsigned group = (what.modrm >> 3) & 7U;
  return what.opcode == 0xe8 || (what.opcode == 0xff && (group == 2 || group == 3));
}

/// A direct branch that leads to its own window would trap each time.
bool leads_into(const instruction& what, std::uintptr_t address, std::uintptr_t from,
                std::size_t length) noexcept {
  const auto target = flow_of(what, address).branch;
  return target && *target > from && *target < from + length;
}

/// The common part: a jump whose opcode stands behind `prefixes` prefixes, over the first `members`
/// instructions.
std::optional<jump_shape> jump_over(const jump_ground& ground, tactic how, std::size_t prefixes,
                                    std::size_t members) noexcept {
  // Branches lead behind lock prefixes, where one thread needs none (libc's catomic_...).
  if (ground.instructions[0].lock && (ground.landings & 2U) != 0) return std::nullopt;
  jump_shape shape;
  shape.how = how;
  shape.prefixes = narrow(prefixes);
  shape.members = narrow(members);
  shape.window = narrow(prefixes + jump_length);
  if (ground.bytes.size() < shape.window) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < members; ++i) {
    if (length != 0 && length < shape.window) shape.boundaries |= narrow(std::size_t{1} << length);
    length += ground.instructions[i].length;
  }
  shape.length = narrow(length);
  const auto filler = ground.inner != 0 ? ground.inner : breakpoint_bytes[0];
  if (((ground.taken & inside(shape.window)) | (ground.taken & inside(length))) != 0) return std::nullopt;
  for (std::size_t i = 0; i < sizeof shape.distance; ++i) {
    const auto at = prefixes + 1 + i;
    // At inner boundaries a byte that traps by itself. Opcodes that 64-bit mode does not have do, too, and
    // would give more choice; but the program may have SIGILL blocked.
    const bool inner = (shape.boundaries >> at & 1U) != 0;
    if (!inner && at < length) continue;
    shape.fixed |= std::uint32_t{0xff} << (8 * i);
    shape.distance |= std::uint32_t{inner ? filler : ground.bytes[at]} << (8 * i);
  }
  return shape;
}

std::optional<jump_shape> over_long(const jump_ground& ground) noexcept {
  if (ground.instructions[0].length < jump_length) return std::nullopt;
  return jump_over(ground, tactic::over_long, 0, 1);
}

std::optional<jump_shape> punned(const jump_ground& ground) noexcept {
  if (ground.instructions[0].length >= jump_length) return std::nullopt;
  return jump_over(ground, tactic::punned, 0, 1);
}

/// The opcode itself must lie within the displaced instruction.
std::optional<jump_shape> prefixed(const jump_ground& ground, std::size_t prefixes) noexcept {
  const auto length = ground.instructions[0].length;
  if (length >= jump_length || prefixes >= length) return std::nullopt;
  return jump_over(ground, tactic::prefixed, prefixes, 1);
}

std::optional<jump_shape> over_several(const jump_ground& ground, std::size_t members) noexcept {
  if (ground.instructions.size() < members) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 0; i < members; ++i) {
    if (length >= jump_length) return std::nullopt;  // fewer would do
    if (i + 1 < members && is_call(ground.instructions[i])) return std::nullopt;
    length += ground.instructions[i].length;
  }
  auto shape = jump_over(ground, tactic::over_several, 0, members);
  if (!shape || (ground.landings & inside(length)) != 0) return std::nullopt;
  std::size_t at = 0;
  for (std::size_t i = 0; i < members; ++i) {
    if (leads_into(ground.instructions[i], ground.address + at, ground.address, length)) return std::nullopt;
    at += ground.instructions[i].length;
  }
  return shape;
}

}  // namespace

std::size_t jump_shapes(const jump_ground& ground, std::span<jump_shape, most_shapes> shapes) noexcept {
  std::size_t count = 0;
  const auto add = [&](const std::optional<jump_shape>& proposal) {
    if (proposal) shapes[count++] = *proposal;
  };
  add(over_long(ground));
  add(punned(ground));
  for (std::size_t prefixes = 1; prefixes <= most_prefixes; ++prefixes) add(prefixed(ground, prefixes));
  for (std::size_t members = 2; members <= most_members; ++members) add(over_several(ground, members));
  return count;
}

jump_shape with_breakpoints(jump_shape shape, std::uint32_t where) noexcept {
  for (std::size_t i = 0; i < sizeof shape.distance; ++i) {
    if ((where >> (shape.prefixes + 1 + i) & 1U) == 0) continue;
    shape.distance &= ~(std::uint32_t{0xff} << (8 * i));
    shape.distance |= std::uint32_t{breakpoint_bytes[0]} << (8 * i);
  }
  return shape;
}

void write_jump(const jump_shape& shape, std::uintptr_t address, std::uintptr_t target,
                std::span<std::uint8_t> window) noexcept {
  std::size_t at = 0;
  for (; at < shape.prefixes; ++at) window[at] = redundant_prefixes[at];
  window[at++] = jump_opcode;
  const auto distance = static_cast<std::uint32_t>(target - (address + shape.window));
  std::memcpy(&window[at], &distance, sizeof distance);
}

}  // namespace libprobe::arch
