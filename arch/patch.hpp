// patch: breakpoints and jumps in the place of an instruction, each with its window of bytes and the phases
// in which it is written.
//
// The port gives (port/patch.hpp): `tactic` and `jump_shape`; `jump_reach`, the addresses that a jump of a
// shape can lead to; breakpoint_length; longest_window, most_members, most_shapes, jump_length, hop_length;
// `inner_fillers`, what may stand at inner boundaries while no trap may.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "arch/insn.hpp"
#include "port/patch.hpp"

namespace libprobe::arch {

/// As the listing shows it.
const char* name_of(tactic how) noexcept;

/// What stands at a site's address, in the order in which a jump is written. Each is a safe state in itself,
/// with a core synchronisation between any two; a CPU whose jump is one aligned word has no use for the two
/// in the middle.
enum class phase : std::uint8_t {
  original,
  breakpoint,  // in the place of the first instruction
  staged,      // and trapping bytes at the inner boundaries of a jump's window: nobody is inside it any more
  tailed,      // and all bytes of the jump but the first
  jump,
};
/// The next phase on the way from `now` to `wanted`, where each may trap.
phase next_phase(phase now, phase wanted) noexcept;

/// The bytes of a window, as far as they are known.
using window_bytes = std::array<std::uint8_t, longest_window>;
/// What stands there in a phase. Without a shape: what stands for the breakpoint alone.
window_bytes image_of(phase now, std::span<const std::uint8_t> original) noexcept;
window_bytes image_of(phase now, const jump_shape& shape, const window_bytes& original,
                      const window_bytes& jump) noexcept;

/// True if the code begins with a breakpoint, whoever's.
bool is_breakpoint(std::span<const std::uint8_t> code) noexcept;
/// True if one may begin anywhere in it.
bool may_hold_breakpoint(std::span<const std::uint8_t> code) noexcept;
/// True if these are the original bytes, but for breakpoints that stand on top of some.
bool is_covered_by_breakpoints(std::span<const std::uint8_t> code,
                               std::span<const std::uint8_t> original) noexcept;
/// For looking through text: a breakpoint or a jump of ours may begin with this byte.
bool may_begin_patch(std::uint8_t byte) noexcept;

/// The text from a probed address on.
struct jump_ground {
  std::uintptr_t address = 0;
  std::span<const instruction> instructions;  // one after the other
  std::span<const std::uint8_t> bytes;        // at least as long as a window, where there are so many
  std::uint32_t landings = 0;                 // bit n: a known branch leads n bytes behind the address
  std::uint32_t taken = 0;                    // bit n: another probed address
  std::uint8_t inner = 0;  // stands at inner boundaries: one of inner_fillers; 0: a breakpoint
};
/// All shapes that can stand there, best first. Returns how many.
std::size_t jump_shapes(const jump_ground& ground, std::span<jump_shape, most_shapes> shapes) noexcept;
/// The jump as somebody else's breakpoints would change it. Bit n of `where`: one stands n bytes behind its
/// address.
jump_shape with_breakpoints(jump_shape shape, std::uint32_t where) noexcept;
/// The bytes of the jump, `shape.window` of them, on top of the original ones.
void write_jump(const jump_shape& shape, std::uintptr_t address, std::uintptr_t target,
                std::span<std::uint8_t> window) noexcept;

/// A jump (hop_length bytes) from `hop` to anywhere: an island, for jumps that cannot lead far.
void write_hop(std::uintptr_t hop, std::uintptr_t target, std::span<std::uint8_t, hop_length> code) noexcept;
/// Where a jump as hops and slots have it leads; 0 if there is none. Signal-safe.
std::uintptr_t jump_target(std::uintptr_t at) noexcept;

}  // namespace libprobe::arch
