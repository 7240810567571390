// A jump in a breakpoint's place: the shapes that it can have at one address, from best to worst.
#pragma once

#include <cstddef>
#include <cstdint>

namespace libprobe::arch {

/// int3. The trap reports the address behind it.
inline constexpr std::uint8_t breakpoint_bytes[] = {0xcc};
inline constexpr std::size_t breakpoint_length = sizeof breakpoint_bytes;

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
inline constexpr std::uint8_t inner_fillers[] = {0x06, 0xce, 0x27, 0x82, 0x60, 0x9a};

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

inline constexpr std::size_t most_shapes = 1 + 1 + most_prefixes + (most_members - 1);

/// An island's: jmp [rip], and the address.
inline constexpr std::size_t hop_length = 14;

}  // namespace libprobe::arch

#include "jump_reach.hpp"
