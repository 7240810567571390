// Refuses: see arch/arch.hpp.
#include "arch/state.hpp"

namespace libprobe::arch {

void prepare_ordinary(std::uint64_t /*components*/) noexcept {}
std::uint64_t enabled_state_components() noexcept { return {}; }
vector_use vectors_used_by(std::uintptr_t /*function*/) noexcept { return all_saved(); }
bool keeps_more_than_vectors(std::span<const std::uint8_t> /*function*/) noexcept { return true; }
void reload_vectors(const registers& /*regs*/, vector_use /*saved*/) noexcept {}

}  // namespace libprobe::arch
