// Refuses: see arch/arch.hpp.
#include "arch/machine.hpp"

namespace libprobe::arch {

std::optional<std::uintptr_t> linkage_slot(std::span<const std::uint8_t> /*code*/,
                                           std::uintptr_t /*address*/) noexcept {
  return std::nullopt;
}
bool stores_function_address(std::uint64_t /*relocation_type*/) noexcept { return false; }
std::size_t stored_bytes(std::uint64_t /*relocation_type*/) noexcept { return {}; }
stub signal_return() noexcept { return {}; }

}  // namespace libprobe::arch
