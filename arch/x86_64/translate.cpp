// Where a thread that is found inside a slot would be in the program: the reader of what emit() wrote.
#include "arch/arch.hpp"
#include "detour_frame.h"

namespace libprobe::arch {

namespace {

constexpr std::uint8_t rbp = 5;  // scratch registers are rbp, rsi and rdi: 5, 6, 7

/// In a detour nothing of the program's own has happened, but for what it has on the stack.
void leave_detour(const slot_layout& layout, std::size_t offset, registers& regs) noexcept {
  constexpr std::size_t lowered = 5;
  constexpr std::size_t pushed = 11;
  if (offset >= pushed && offset <= layout.entry_return) {
    regs.rsp += RED_ZONE + sizeof(std::uint64_t);
  } else if (offset >= lowered && offset < pushed) {
    regs.rsp += RED_ZONE;
  }
}

}  // namespace

bool translate(const slot_layout& layout, std::uintptr_t address, std::size_t offset,
               registers& regs) noexcept {
  if (layout.entry_return != 0) {
    leave_detour(layout, offset, regs);
    regs.rip = address + layout.original_length;
    return layout.original_length == 0;
  }
  if (layout.pushed != 0) {  // a call: whatever faults, it has not happened
    if (offset >= layout.pushed) regs.rsp += sizeof(std::uint64_t);
    regs.rip = address;
    return true;
  }
  const std::size_t inside = offset >= layout.part_two ? offset - layout.part_two : offset;
  if (layout.scratch != displaced::no_register) {
    // Between the push of the scratch register and its pop the stack pointer is down by the red zone and one
    // word.
    constexpr std::size_t pushed = 6;
    constexpr std::size_t lowered = 5;
    const std::size_t popped = std::size_t{layout.body} + layout.length + 1;
    constexpr std::uint64_t registers::*const scratch[] = {&registers::rbp, &registers::rsi, &registers::rdi};
    if (inside >= pushed && inside < popped) {
      regs.*scratch[layout.scratch - rbp] = *reinterpret_cast<const std::uint64_t*>(regs.rsp);
      regs.rsp += RED_ZONE + sizeof(std::uint64_t);
    } else if (inside >= lowered && inside < layout.after) {
      regs.rsp += RED_ZONE;
    }
  }
  const bool before = inside <= layout.body;
  regs.rip = before ? address : address + layout.original_length;
  return before;
}

}  // namespace libprobe::arch
