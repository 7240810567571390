// Refuses: see arch/arch.hpp.
#include "arch/slot.hpp"

namespace libprobe::arch {

result<displaced> plan(const instruction& /*what*/, std::uintptr_t /*address*/, bool /*step*/) noexcept {
  return errc::unsupported_instruction;
}
bool is_branch(const displaced& /*what*/) noexcept { return false; }
result<slot_layout> emit(const displaced& /*plan*/, std::uintptr_t /*address*/, std::uintptr_t /*slot*/,
                         std::uintptr_t /*next*/, std::span<std::uint8_t> /*code*/) noexcept {
  return errc::out_of_code_memory;
}
result<slot_layout> emit_original(std::uintptr_t /*slot*/, std::uintptr_t /*body*/,
                                  std::span<std::uint8_t> /*code*/) noexcept {
  return errc::out_of_code_memory;
}
result<slot_layout> emit_detour(const void* /*about*/, std::uintptr_t /*address*/, std::uint8_t /*passed*/,
                                detour_end /*end*/, std::uintptr_t /*slot*/, std::uintptr_t /*next*/,
                                std::span<std::uint8_t> /*code*/) noexcept {
  return errc::out_of_code_memory;
}
result<slot_layout> emit_count(const void* /*column*/, std::intptr_t /*row*/, bool /*at_entry*/,
                               std::uintptr_t /*otherwise*/, std::uintptr_t /*slot*/, std::uintptr_t /*next*/,
                               std::span<std::uint8_t> /*code*/) noexcept {
  return errc::out_of_code_memory;
}
bool emulate(const displaced& /*plan*/, std::uintptr_t /*address*/, registers& /*regs*/) noexcept {
  return false;
}
std::uintptr_t trap_part(const slot_layout& /*layout*/, std::uintptr_t /*slot*/) noexcept { return {}; }
std::uintptr_t end_of_trap_part(const slot_layout& /*layout*/, std::uintptr_t /*slot*/) noexcept {
  return {};
}
way_back translate(const slot_layout& /*layout*/, std::uintptr_t /*address*/, std::uintptr_t /*slot*/,
                   registers& /*regs*/) noexcept {
  return {};
}
void take(const way_back& /*back*/, registers& /*regs*/) noexcept {}
bool in_detour_code(std::uintptr_t /*ip*/) noexcept { return false; }

}  // namespace libprobe::arch
