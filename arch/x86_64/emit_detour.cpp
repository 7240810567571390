// Writes detours: the code between a jump in the program's text and the handlers.
#include <algorithm>

#include "arch/patch.hpp"
#include "arch/slot.hpp"
#include "arch/state.hpp"
#include "code_writer.hpp"
#include "detour_frame.h"

extern "C" {
// In detour.S and direct_call.S.
void libprobe_detour_before();
void libprobe_detour_after();
void libprobe_detour_follow();
void libprobe_detour_direct();
}

namespace libprobe::arch {

namespace {

// Read by the code itself, behind it; the first one by unwinders and libprobe_detour_before and its like.
constexpr std::size_t next_offset = slot_unit - 24;
constexpr std::size_t about_offset = slot_unit - 16;
constexpr std::size_t entry_offset = slot_unit - 8;

using entry_code = void (*)();

entry_code entry_of(std::uint8_t passed, detour_end end) noexcept {
  switch (end) {
    case detour_end::follows:
      return libprobe_detour_follow;
    case detour_end::returns:
      return libprobe_detour_direct;
    default:
      return passed == 0 ? libprobe_detour_before : libprobe_detour_after;
  }
}

slot_code code_of(detour_end end) noexcept {
  switch (end) {
    case detour_end::follows:
      return slot_code::follows;
    case detour_end::returns:
      return slot_code::returns;
    default:
      return slot_code::goes_on;
  }
}

void rip_relative(code_writer& out, std::size_t target) noexcept {
  out.word(static_cast<std::int32_t>(target - (out.offset() + sizeof(std::int32_t))));
}

}  // namespace

result<slot_layout> emit_detour(const void* about, std::uintptr_t address, std::uint8_t passed,
                                detour_end end, std::uintptr_t slot, std::uintptr_t next,
                                std::span<std::uint8_t> code) noexcept {
  slot_layout layout;
  layout.what = code_of(end);
  layout.original_length = passed;
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, slot};
  out.bytes({0x48, 0x8d, 0x64, 0x24, 0x80});  // lea -128(%rsp), %rsp: over the red zone
  out.bytes({0xff, 0x35});                    // push about(%rip)
  rip_relative(out, about_offset);
  out.bytes({0xff, 0x15});  // call *entry(%rip): the return-stack buffer stays matched
  rip_relative(out, entry_offset);
  static_assert(next_offset - DETOUR_NEXT == 5 + 6 + 6, "as long as what is above");
  layout.entry_return = out.offset();
  out.bytes({0x48, 0x8d, 0xa4, 0x24});  // lea 136(%rsp), %rsp
  out.word(std::uint32_t{RED_ZONE + 8} + (end == detour_end::follows ? 8U : 0U));
  layout.after = out.offset();
  switch (end) {
    case detour_end::goes_on:
      out.jump(next);
      break;
    case detour_end::follows:
      out.bytes({0x64, 0xff, 0x24, 0x25});  // jmp *%fs:next
      out.word(static_cast<std::int32_t>(next));
      break;
    case detour_end::returns:
      out.bytes({0xc3});
      break;
  }
  out.skip_to(next_offset);
  out.word(std::uint64_t{address + passed});
  out.word(reinterpret_cast<std::uint64_t>(about));
  out.word(reinterpret_cast<std::uint64_t>(entry_of(passed, end)));
  return layout;
}

result<slot_layout> emit_count(const void* column, std::intptr_t row, bool at_entry, std::uintptr_t otherwise,
                               std::uintptr_t slot, std::uintptr_t next,
                               std::span<std::uint8_t> code) noexcept {
  if (!fits(row)) return errc::out_of_code_memory;
  constexpr std::size_t column_offset = 2 * slot_unit - 8;
  slot_layout layout;
  layout.what = slot_code::counts;
  layout.units = 2;
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, slot};
  const auto save = [&] {
    if (!at_entry) out.bytes({0x48, 0x8d, 0x64, 0x24, 0x80});  // lea -128(%rsp), %rsp
    out.bytes({0x50, 0x51});                                   // push %rax; push %rcx
    if (!at_entry) out.bytes({0x9f, 0x0f, 0x90, 0xc0, 0x50});  // lahf; seto %al; push %rax
  };
  const auto restore = [&] {
    if (!at_entry) out.bytes({0x58, 0x04, 0x7f, 0x9e});  // pop %rax; add $0x7f, %al; sahf
    out.bytes({0x59, 0x58});                             // pop %rcx; pop %rax
    if (!at_entry) out.bytes({0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0});
  };
  save();
  if (!at_entry) layout.pushed = out.offset();
  out.bytes({0x64, 0x48, 0x8b, 0x0c, 0x25});  // mov %fs:row, %rcx
  out.word(static_cast<std::int32_t>(row));
  out.bytes({0x48, 0x8b, 0x05});  // mov column(%rip), %rax
  rip_relative(out, column_offset);
  const auto branch = out.offset();
  out.bytes({0xe3, 0});  // jrcxz: no flag is read
  out.bytes(
      {0x48, 0xff, 0x04, 0x08});  // incq (%rax, %rcx): one instruction, so that no signal comes in between
  layout.entry_return = out.offset();
  restore();
  layout.after = out.offset();
  out.jump(next);
  layout.uncounted = out.offset();
  out.patch(branch + 1U, static_cast<std::uint8_t>(out.offset() - branch - 2U));
  restore();
  out.jump(otherwise);
  out.skip_to(column_offset);
  out.word(reinterpret_cast<std::uint64_t>(column));
  return layout;
}

void write_hop(std::uintptr_t hop, std::uintptr_t target, std::span<std::uint8_t, hop_length> code) noexcept {
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, hop};
  out.jump(target);
}

}  // namespace libprobe::arch
