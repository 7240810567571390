// Refuses: see arch/arch.hpp.
#include "arch/insn.hpp"

namespace libprobe::arch {

result<instruction> split(std::span<const std::uint8_t> /*bytes*/) noexcept {
  return errc::undecodable_instruction;
}
result<instruction> decode(std::span<const std::uint8_t> /*bytes*/) noexcept {
  return errc::undecodable_instruction;
}
flow flow_of(const instruction& /*what*/, std::uintptr_t /*address*/) noexcept { return {}; }
bool is_padding(const instruction& /*what*/) noexcept { return false; }
bool may_be_entered_inside(const instruction& /*what*/) noexcept { return true; }
bool starts_with_landing_pad(std::span<const std::uint8_t> /*code*/) noexcept { return false; }
std::uint32_t behind_prologue(std::span<const std::uint8_t> /*bytes*/) noexcept { return {}; }
bool may_hold_tables(std::span<const std::uint8_t> /*function*/, std::uintptr_t /*address*/) noexcept {
  return true;
}
std::optional<jump_table> table_of(std::span<const placed_instruction> /*trail*/,
                                   std::span<const placed_instruction> /*loads*/) noexcept {
  return std::nullopt;
}
std::uintptr_t table_target(const jump_table& /*table*/, std::span<const std::uint8_t> /*entry*/) noexcept {
  return {};
}
bool is_operand(const instruction& /*what*/, std::size_t /*offset*/, std::size_t /*size*/) noexcept {
  return false;
}
std::vector<system_call_place> system_calls_in(std::span<const std::uint8_t> /*function*/) { return {}; }
std::size_t next_system_call(std::span<const std::uint8_t> code, std::size_t /*from*/) noexcept {
  return code.size();
}

}  // namespace libprobe::arch
