// Refuses: see arch/arch.hpp.
#include "arch/patch.hpp"

namespace libprobe::arch {

const char* name_of(tactic /*how*/) noexcept { return "breakpoint"; }

phase next_phase(phase /*now*/, phase wanted) noexcept { return wanted; }
window_bytes image_of(phase /*now*/, std::span<const std::uint8_t> /*original*/) noexcept { return {}; }
window_bytes image_of(phase /*now*/, const jump_shape& /*shape*/, const window_bytes& /*original*/,
                      const window_bytes& /*jump*/) noexcept {
  return {};
}
bool is_breakpoint(std::span<const std::uint8_t> /*code*/) noexcept { return false; }
bool may_hold_breakpoint(std::span<const std::uint8_t> /*code*/) noexcept { return true; }
bool is_covered_by_breakpoints(std::span<const std::uint8_t> /*code*/,
                               std::span<const std::uint8_t> /*original*/) noexcept {
  return false;
}
bool may_begin_patch(std::uint8_t /*byte*/) noexcept { return true; }
std::size_t jump_shapes(const jump_ground& /*ground*/,
                        std::span<jump_shape, most_shapes> /*shapes*/) noexcept {
  return {};
}
jump_shape with_breakpoints(jump_shape shape, std::uint32_t /*where*/) noexcept { return shape; }
void write_jump(const jump_shape& /*shape*/, std::uintptr_t /*address*/, std::uintptr_t /*target*/,
                std::span<std::uint8_t> /*window*/) noexcept {}
void write_hop(std::uintptr_t /*hop*/, std::uintptr_t /*target*/,
               std::span<std::uint8_t, hop_length> /*code*/) noexcept {}
std::uintptr_t jump_target(std::uintptr_t /*at*/) noexcept { return {}; }

}  // namespace libprobe::arch
