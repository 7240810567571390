// The shapes in which compilers and people jump by tables:
//   lea table(%rip), B; movslq (B,I,4), R; add B, R; jmp *R     distances, 4 bytes each
//   jmp *table(,I,8), or a mov of that to R and jmp *R          addresses, 8 bytes each
//   lea table(%rip), B; jmp *(B,I,8), or by mov and jmp *R      addresses, 8 bytes each
#include "arch/insn.hpp"

#include <cstring>

#include "legacy.hpp"

namespace libprobe::arch {
namespace {

constexpr unsigned no_register = 16;

bool is_memory(const instruction& what) noexcept { return what.has_modrm && what.mod() != 3; }

unsigned base_of(const instruction& what) noexcept {
  if (what.rip_relative) return no_register;
  if (!what.has_sib) return what.rm();
  const unsigned low = what.sib & 7U;
  if (low == 5 && what.mod() == 0) return no_register;
  return low | ((what.rex & 1) != 0 ? 8U : 0U);
}
unsigned index_of(const instruction& what) noexcept {
  if (!what.has_sib) return no_register;
  const unsigned index = ((what.sib >> 3) & 7U) | ((what.rex & 2) != 0 ? 8U : 0U);
  return index == 4 ? no_register : index;
}
unsigned scale_of(const instruction& what) noexcept { return what.has_sib ? 1U << (what.sib >> 6) : 1U; }

/// Loads an element of an array: of 4 bytes, extended, or of 8.
std::uint8_t element_size(const instruction& what) noexcept {
  if (!is_plain(what) || !is_memory(what) || what.rip_relative) return 0;
  if (what.opcode == 0x63) return 4;
  if (what.opcode != 0x8b) return 0;
  return what.rex_w() ? 8 : 4;
}

/// add of two registers, one of which is that.
bool is_add_to(const instruction& what, unsigned target) noexcept {
  if (!is_plain(what) || !what.has_modrm || what.mod() != 3) return false;
  return (what.opcode == 0x01 && what.rm() == target) || (what.opcode == 0x03 && what.reg() == target);
}

/// The nearest load of an address into the register, first in the trail.
std::optional<std::uintptr_t> loaded_into(unsigned into, std::span<const placed_instruction> trail,
                                          std::span<const placed_instruction> loads) noexcept {
  for (auto i = trail.size(); i-- > 0;) {
    const auto loaded = flow_of(trail[i].what, trail[i].address).loads;
    if (loaded && trail[i].what.reg() == into) return loaded;
  }
  std::optional<std::uintptr_t> only;
  for (const auto& one : loads) {
    const auto loaded = flow_of(one.what, one.address).loads;
    if (!loaded || one.what.reg() != into) continue;
    if (only && *only != *loaded) return std::nullopt;
    only = loaded;
  }
  return only;
}

/// As the bounds check before the jump has it: the entries, or 0.
std::size_t checked_count(std::span<const placed_instruction> trail) noexcept {
  for (auto i = trail.size(); i-- > 1;) {
    const auto& check = trail[i - 1].what;
    const auto& branch = trail[i].what;
    const bool near = is_legacy(branch, instruction::map_0f) && (branch.opcode & 0xf0) == 0x80;
    const bool above = (is_plain(branch) && (branch.opcode & 0xf0) == 0x70) || near;
    const unsigned condition = branch.opcode & 0x0fU;
    if (!above || (condition != 7 && condition != 3)) continue;  // ja, jae
    const bool compares =
        is_plain(check) && ((check.opcode == 0x83 || check.opcode == 0x81 || check.opcode == 0x80)
                                ? check.has_modrm && extension(check) == 7
                                : check.opcode == 0x3d || check.opcode == 0x3c);
    if (!compares || check.immediate < 0 || check.immediate > 0xffff) return 0;
    return static_cast<std::size_t>(check.immediate) + (condition == 7 ? 1 : 0);
  }
  return 0;
}

/// What the operand's base, and its displacement, say of the place where an array begins.
std::optional<std::uintptr_t> array_of(const instruction& what, std::span<const placed_instruction> trail,
                                       std::span<const placed_instruction> loads) noexcept {
  const auto beside = static_cast<std::uintptr_t>(what.displacement);
  if (base_of(what) == no_register) return beside;
  auto start = loaded_into(base_of(what), trail, loads);
  // Without a scale base and index may stand in either's place.
  if (!start && scale_of(what) == 1 && index_of(what) != no_register)
    start = loaded_into(index_of(what), trail, loads);
  return start ? std::optional{*start + beside} : std::nullopt;
}

}  // namespace

bool may_hold_tables(std::span<const std::uint8_t> function, std::uintptr_t address) noexcept {
  const auto* const bytes = function.data();
  const auto size = function.size();
  bool jumps = false;
  for (std::size_t at = 0; at + 1 < size && !jumps; ++at)
    jumps = bytes[at] == 0xff && (bytes[at + 1] & 0x38) == 0x20;
  if (!jumps) return false;
  const bool absolute = address + size <= 0x7fffffff;
  for (std::size_t at = 0; at + 6 <= size; ++at) {
    std::int32_t field = 0;
    std::memcpy(&field, bytes + at + 2, sizeof field);
    const auto distance = static_cast<std::uintptr_t>(std::intptr_t{field});
    if (bytes[at] == 0x8d && (bytes[at + 1] & 0xc7) == 0x05 && at + 6 + distance < size) return true;
    if (absolute && distance - address < size) return true;
  }
  return false;
}

std::optional<jump_table> table_of(std::span<const placed_instruction> trail,
                                   std::span<const placed_instruction> loads) noexcept {
  if (trail.empty() || !flow_of(trail.back().what, trail.back().address).indirect_jump) return std::nullopt;
  const auto& jump = trail.back().what;
  const auto before = trail.first(trail.size() - 1);
  jump_table found;
  if (const auto most = checked_count(before); most != 0) found.most = most;
  const auto settle = [&](std::optional<std::uintptr_t> start, std::uint8_t size, bool relative) {
    if (!start) return std::optional<jump_table>{};
    found.start = *start;
    found.entry_size = size;
    found.relative = relative;
    return std::optional{found};
  };
  if (is_memory(jump)) {
    if (jump.rip_relative || index_of(jump) == no_register || scale_of(jump) != 8) return std::nullopt;
    return settle(array_of(jump, before, loads), 8, false);
  }
  const unsigned target = jump.rm();
  bool relative = false;
  for (auto i = before.size(); i-- > 0;) {
    const auto& one = before[i].what;
    if (is_add_to(one, target)) relative = true;
    const auto size = element_size(one);
    if (size == 0 || index_of(one) == no_register || relative != (size == 4)) continue;
    // Of a distance's base and the distance itself the jump has either's register.
    if (!relative && one.reg() != target) continue;
    return settle(array_of(one, before, loads), size, relative);
  }
  return std::nullopt;
}

std::uintptr_t table_target(const jump_table& table, std::span<const std::uint8_t> entry) noexcept {
  if (table.relative) {
    std::int32_t distance = 0;
    std::memcpy(&distance, entry.data(), sizeof distance);
    return table.start + static_cast<std::uintptr_t>(std::intptr_t{distance});
  }
  std::uint64_t address = 0;
  std::memcpy(&address, entry.data(), sizeof address);
  return static_cast<std::uintptr_t>(address);
}

bool is_operand(const instruction& what, std::size_t offset, std::size_t size) noexcept {
  return (offset == what.displacement_offset && size <= what.displacement_size) ||
         (offset == what.immediate_offset && size <= what.immediate_size);
}

}  // namespace libprobe::arch
