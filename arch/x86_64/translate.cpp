// Where a thread that is found inside libprobe's code would be in the program: the reader of what emit() and
// its like wrote.
//
// Whatever has happened there is undone or finished, so that the program's registers are whole: the thread
// can go on with them at the beginning of that code, or at its end.
#include <cstring>

#include "arch/patch.hpp"
#include "arch/ret.hpp"
#include "arch/slot.hpp"
#include "arch/trap.hpp"
#include "detour_frame.h"

extern "C" {
extern std::uint64_t libprobe_call_targets[];
extern const char libprobe_entries[], libprobe_entries_end[], libprobe_resume[], libprobe_resume_jump[],
    libprobe_resume_end[], libprobe_return_pop[], libprobe_return_end[], libprobe_restorer_end[];
}

namespace libprobe::arch {

namespace {

constexpr std::uint8_t rbp = 5;  // scratch registers are rbp, rsi and rdi: 5, 6, 7
constexpr std::size_t word_size = sizeof(std::uint64_t);
constexpr std::size_t lowered = 5;  // behind lea -128(%rsp), %rsp

std::uint64_t word_at(std::uintptr_t address) noexcept {
  return *reinterpret_cast<const std::uint64_t*>(address);
}

way_back leave_copy(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                    registers& regs) noexcept {
  const std::size_t offset = regs.rip - slot;
  const std::size_t part = offset >= layout.part_two ? layout.part_two : 0U;
  const std::size_t inside = offset - part;
  const std::size_t behind = std::size_t{layout.body} + layout.length;
  if (layout.scratch != displaced::no_register) {
    // Between the push of the scratch register and its pop the stack pointer is down by the red zone and one
    // word.
    constexpr std::size_t pushed = lowered + 1;
    constexpr std::uint64_t registers::*const scratch[] = {&registers::rbp, &registers::rsi, &registers::rdi};
    if (inside >= pushed && inside <= behind) {
      regs.*scratch[layout.scratch - rbp] = word_at(regs.rsp);
      regs.rsp += RED_ZONE + word_size;
    } else if (inside >= lowered && inside < layout.after) {
      regs.rsp += RED_ZONE;
    }
  } else if (inside >= behind && inside < layout.after) {
    regs.rcx = address + layout.original_length;  // a system call's
  }
  const bool before = inside <= layout.body;
  regs.rip = before ? address : address + layout.original_length;
  return {before, slot + part + (before ? 0U : layout.after)};
}

way_back leave_branch(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                      registers& regs) noexcept {
  const std::size_t offset = regs.rip - slot;
  if (layout.pushed != 0) {  // a call: it has not happened
    if (offset >= layout.pushed) regs.rsp += word_size;
    regs.rip = address;
    return {true, slot};
  }
  if (offset == 0) {
    regs.rip = address;
    return {true, slot};
  }
  regs.rip = offset == layout.taken ? jump_target(slot + offset) : address + layout.original_length;
  return {false, slot + offset};
}

/// In a detour nothing of the program's own has happened, but for what it has on the stack.
way_back leave_detour(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                      registers& regs) noexcept {
  constexpr std::size_t pushed = lowered + 6;
  const std::size_t offset = regs.rip - slot;
  regs.rip = address + layout.original_length;
  const bool before = layout.original_length == 0;
  if (offset < layout.entry_return) {
    if (offset >= lowered) regs.rsp += RED_ZONE;
    if (offset >= pushed) regs.rsp += word_size;
    return {before, slot};
  }
  if (offset < layout.after) regs.rsp += RED_ZONE + word_size;
  way_back back{before, slot + layout.after};
  constexpr auto word = static_cast<std::intptr_t>(word_size);
  if (layout.what == slot_code::follows) {
    // The return address, popped so that the call from the return slot pushes it: as it was.
    if (offset >= layout.after) regs.rsp -= word_size;
    back.sp = word;
  } else if (layout.what == slot_code::returns) {  // another function has run in its place
    regs.rip = word_at(regs.rsp);
    regs.rsp += word_size;
    back = {false, slot + layout.after, -word};
  }
  return back;
}

/// From what lahf and seto leave in rax.
void set_arithmetic_flags(registers& regs, std::uint64_t saved, bool overflow) noexcept {
  constexpr std::uint64_t by_lahf = 0xd5, of = 0x800;
  regs.rflags = (regs.rflags & ~(by_lahf | of)) | (saved >> 8 & by_lahf) | (overflow ? of : 0);
}

way_back leave_count(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                     registers& regs) noexcept {
  const std::size_t offset = regs.rip - slot;
  const bool with_flags = layout.pushed != 0;
  std::size_t words = 0;  // pushed: rax, rcx, flags
  bool down = false;      // by the red zone
  if (offset < layout.entry_return) {
    const std::size_t first = with_flags ? lowered : 0U;
    words = (offset > first ? 1U : 0U) + (offset > first + 1 ? 1U : 0U) +
            (with_flags && offset >= layout.pushed ? 1U : 0U);
    down = with_flags && offset >= lowered;
  } else {
    // pop %rax; add; sahf; pop %rcx; pop %rax; lea, or the two pops alone
    constexpr std::size_t flags_popped = 1, added = 3, flags_back = 4, raised = 14;
    const std::size_t inside = offset - (offset >= layout.uncounted ? layout.uncounted : layout.entry_return);
    const std::size_t pops = with_flags ? flags_back : 0U;
    words = with_flags && inside < flags_popped ? 3U : inside <= pops ? 2U : inside == pops + 1 ? 1U : 0U;
    down = with_flags && inside < raised;
    if (with_flags && inside < flags_back) {
      const auto saved = inside < flags_popped ? word_at(regs.rsp) : regs.rax;
      const bool now = (regs.rflags & 0x800) != 0;
      set_arithmetic_flags(regs, saved, inside < added ? (saved & 1) != 0 : now);
    }
  }
  if (words >= 1) regs.rax = word_at(regs.rsp + (words - 1) * word_size);
  if (words >= 2) regs.rcx = word_at(regs.rsp + (words - 2) * word_size);
  regs.rsp += words * word_size + (down ? RED_ZONE : 0U);
  regs.rip = address;
  const bool counted = offset >= layout.entry_return && offset < layout.uncounted;
  return {true, slot + (counted ? layout.after : 0U)};
}

}  // namespace

std::uintptr_t jump_target(std::uintptr_t at) noexcept {
  const auto* const code = reinterpret_cast<const std::uint8_t*>(at);
  if (code[0] == 0xe9) {
    std::int32_t distance = 0;
    std::memcpy(&distance, code + 1, sizeof distance);
    return at + 5 + static_cast<std::uintptr_t>(std::intptr_t{distance});
  }
  return code[0] == 0xff && code[1] == 0x25 ? word_at(at + 6) : 0;  // jmp *0(%rip)
}

way_back translate(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                   registers& regs) noexcept {
  switch (layout.what) {
    case slot_code::copy:
      return leave_copy(layout, address, slot, regs);
    case slot_code::branch:
      return leave_branch(layout, address, slot, regs);
    case slot_code::counts:
      return leave_count(layout, address, slot, regs);
    default:
      return leave_detour(layout, address, slot, regs);
  }
}

std::optional<way_back> translate_return(registers& regs) noexcept {
  const auto number = return_slot_at(regs.rip);
  if (number == return_slot_count) return std::nullopt;
  const auto slot = return_slot(number);
  constexpr auto word = static_cast<std::intptr_t>(word_size);
  if (regs.rip < slot) {  // the function is about to be called, its return address is popped
    const way_back back{true, regs.rip, word};
    regs.rip = libprobe_call_targets[number];
    regs.rsp -= word_size;
    return back;
  }
  constexpr std::size_t first_pushed = 13, second_pushed = 18;
  const std::size_t offset = regs.rip - slot;
  regs.rsp += offset >= second_pushed ? 2 * word_size : offset >= first_pushed ? word_size : 0U;
  regs.rip = saved_return(number);
  return way_back{true, slot};
}

void take(const way_back& back, registers& regs) noexcept {
  regs.rip = back.ip;
  regs.rsp += static_cast<std::uint64_t>(back.sp);
}

ucontext_t* frame_in_hand(const ucontext_t& context) noexcept {
  const auto& g = context.uc_mcontext.gregs;
  const auto in = [ip = reinterpret_cast<const char*>(g[REG_RIP])](const char* from, const char* to) {
    return ip >= from && ip < to;
  };
  greg_t frame = 0;
  constexpr greg_t word = sizeof(std::uint64_t);
  if (in(libprobe_entries, libprobe_entries_end)) {
    frame = g[REG_RDX];
  } else if (in(libprobe_resume_jump, libprobe_resume_end)) {
    frame = g[REG_RSP] + 7 * word;
  } else if (in(libprobe_resume, libprobe_return_pop)) {
    frame = g[REG_RBX];
  } else if (in(libprobe_return_pop, libprobe_return_end)) {
    frame = g[REG_RSP] + word;
  } else if (in(reinterpret_cast<const char*>(&libprobe_restorer), libprobe_restorer_end)) {
    frame = g[REG_RSP];
  }
  return reinterpret_cast<ucontext_t*>(frame);
}

}  // namespace libprobe::arch
