// Refuses: see arch/arch.hpp.
#include "arch/ret.hpp"

namespace libprobe::arch {

std::uintptr_t return_address(const registers& /*regs*/) noexcept { return {}; }
bool is_return_slot(std::size_t /*number*/) noexcept { return false; }
std::uintptr_t return_slot(std::size_t /*number*/) noexcept { return {}; }
std::size_t return_slot_at(std::uintptr_t /*ip*/) noexcept { return return_slot_count; }
std::uintptr_t call_from_detour(const registers& /*regs*/, std::uintptr_t /*body*/,
                                std::size_t /*number*/) noexcept {
  return {};
}
void call_from_slot(registers& /*regs*/, std::uintptr_t /*body*/, std::size_t /*number*/) noexcept {}
void follow_behind_branch(registers& /*regs*/, std::uintptr_t /*sp*/, std::size_t /*number*/) noexcept {}
void return_to_slot(registers& /*regs*/, std::size_t /*number*/) noexcept {}
void set_return_vectors(std::size_t /*number*/, vector_use /*use*/) noexcept {}
vector_use return_vectors(std::size_t /*number*/) noexcept { return all_saved(); }
std::uintptr_t saved_return(std::size_t /*number*/) noexcept { return {}; }
void* saved_place(std::size_t /*number*/) noexcept { return nullptr; }
std::size_t slot_of_saved(const void* /*place*/) noexcept { return {}; }
bool lies_on_stack(std::size_t /*number*/, std::uintptr_t /*sp*/) noexcept { return false; }
std::optional<way_back> translate_return(registers& /*regs*/) noexcept { return std::nullopt; }

}  // namespace libprobe::arch

extern "C" {
void libprobe_unwound() { __builtin_trap(); }
}
