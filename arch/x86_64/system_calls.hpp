// System calls that the program makes: where their instructions stand, and what they ask for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <libprobe/registers.hpp>
#include <span>
#include <vector>

namespace libprobe::arch {

/// A system-call instruction in a function's code.
struct system_call_place {
  std::size_t offset = 0;
  long number = -1;  // -1: made with a number that the code does not tell
};
/// All in the code of a function, from its first instruction on. Control side; allocates.
std::vector<system_call_place> system_calls_in(std::span<const std::uint8_t> function);

/// Where a system-call instruction may stand in code, boundaries not known: the first from `from` on; the
/// code's size if there is none.
std::size_t next_system_call(std::span<const std::uint8_t> code, std::size_t from) noexcept;

/// What a system call asks for, at its instruction. (System V ABI, A.2.1)
struct system_call_words {
  long number;
  long arguments[6];
};
system_call_words system_call_at(const registers& regs) noexcept;
/// As if the kernel had given that answer: the program goes on behind the instruction. Signal-safe.
void answer_system_call(registers& regs, long answer) noexcept;

}  // namespace libprobe::arch
