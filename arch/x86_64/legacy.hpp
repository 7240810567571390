// Questions about instructions without VEX and its like.
#pragma once

#include "port/insn.hpp"

namespace libprobe::arch {

inline bool is_legacy(const instruction& what, unsigned map) noexcept {
  return what.encoding == instruction::form::legacy && what.map == map;
}
/// Of the one-byte opcodes.
inline bool is_plain(const instruction& what) noexcept { return is_legacy(what, instruction::one_byte); }
/// The part of the opcode that lies in ModRM, where it has one.
inline unsigned extension(const instruction& what) noexcept { return (what.modrm >> 3) & 7U; }

}  // namespace libprobe::arch
