// A jump in a breakpoint's place: the shapes that it can have at one address, from best to worst.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "instruction.hpp"

namespace libprobe::arch {

/// Why the text at a probed address looks as it does. Each but the first and the last is one rung of the
/// ladder.
enum class tactic : std::uint8_t {
  breakpoint,   // no jump was asked for, or none can stand here
  over_long,    // the displaced instruction has room for the whole jump
  punned,       // the jump's last bytes are its successors' own bytes
  prefixed,     // the same, with redundant prefixes before the jump that move it along
  over_several  // several instructions are displaced; a thread that comes to an inner one traps there
};

inline constexpr std::size_t jump_length = 5;  // jmp rel32
inline constexpr std::size_t most_prefixes = 3;
inline constexpr std::size_t longest_window = jump_length + most_prefixes;
inline constexpr std::size_t most_members = jump_length;

/// No instruction of 64-bit mode begins with one of them: SIGILL. (Intel SDM, volume 2, A.2.1; AMD APM,
/// volume 3, appendix B.3)
inline constexpr std::uint8_t undefined_opcodes[] = {0x06, 0xce, 0x27, 0x82, 0x60, 0x9a};

struct jump_shape {
  tactic how = tactic::breakpoint;
  std::uint8_t prefixes = 0;
  std::uint8_t members = 1;  // displaced instructions
  std::uint8_t length = 0;   // their bytes
  std::uint8_t window = 0;   // bytes of text, from the address on, that the jump consists of
  std::uint8_t boundaries =
      0;  // bit n: an inner instruction begins n bytes behind the address, in the window
  // The jump's distance, as far as it is not free: `fixed` has all bits of a byte set, or none.
  std::uint32_t fixed = 0;
  std::uint32_t distance = 0;
};

/// The text from a probed address on.
struct jump_ground {
  std::uintptr_t address = 0;
  std::span<const instruction> instructions;  // one after the other
  std::span<const std::uint8_t> bytes;        // at least as long as a window, where there are so many
  std::uint32_t landings = 0;                 // bit n: a known branch leads n bytes behind the address
  std::uint32_t taken = 0;                    // bit n: another probed address
  std::uint8_t inner = 0xcc;                  // stands at inner boundaries: int3, or one of undefined_opcodes
};

inline constexpr std::size_t most_shapes = 1 + 1 + most_prefixes + (most_members - 1);
/// All shapes that can stand there, best first. Returns how many.
std::size_t jump_shapes(const jump_ground& ground, std::span<jump_shape, most_shapes> shapes) noexcept;

/// For looking through text: a jump of ours may begin with this byte.
constexpr bool may_begin_jump(std::uint8_t byte) noexcept {
  return byte == 0xe9 || byte == 0x3e || byte == 0x26 || byte == 0x36;
}
/// A branch with a one-byte distance may have this opcode.
constexpr bool may_be_short_branch(std::uint8_t byte) noexcept {
  return (byte & 0xf0) == 0x70 || (byte & 0xfc) == 0xe0 || byte == 0xeb;
}
/// What compilers put between functions.
bool is_padding(const instruction& what) noexcept;

/// Bit n: a debugger that is told to stop in a function which begins with these bytes stops n bytes behind
/// its address. 0 where that depends on more than its first bytes.
std::uint32_t behind_prologue(std::span<const std::uint8_t> bytes) noexcept;

/// The bytes of the jump, `shape.window` of them, on top of the original ones.
void write_jump(const jump_shape& shape, std::uintptr_t address, std::uintptr_t target,
                std::span<std::uint8_t> window) noexcept;

}  // namespace libprobe::arch
