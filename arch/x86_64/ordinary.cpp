// Ordinary context: diverting calls, return slots, calling a function with saved arguments. Part of the hit
// path.
#include <cpuid.h>

#include <algorithm>

#include "arch/call.hpp"
#include "arch/machine.hpp"
#include "arch/ret.hpp"
#include "arch/state.hpp"
#include "arch/trap.hpp"

extern "C" {
// In entry code; see ordinary.S.
extern const char libprobe_detour_code[], libprobe_detour_code_end[];
extern const char libprobe_direct_code[], libprobe_direct_code_end[];
void libprobe_ordinary_entry();
void libprobe_replacement_entry();
void libprobe_call(const void* entry, const libprobe::registers* regs, const void* vectors,
                   std::size_t stack_bytes, libprobe::arch::outcall* call);
[[noreturn]] void libprobe_return_early(void* frame);
struct live_result {
  std::uint64_t rax, rdx;
};
live_result libprobe_call_live(const void* entry, const libprobe::registers* regs, std::size_t stack_words);
void libprobe_keep_result(libprobe::registers* regs, unsigned result);
void libprobe_reload_vectors(const libprobe::registers* regs, int halves);

// Read by the entry code. A mask of 0: the CPU has no XSAVE, and FXSAVE does.
[[gnu::visibility("hidden")]] std::uint32_t libprobe_vector_mask = 0;
[[gnu::visibility("hidden")]] std::uint64_t libprobe_vector_size = 512;
libprobe::arch::direct_words libprobe_direct_words{};
// How wide vector registers are: 0 xmm, 1 ymm, 2 zmm. Read by detour.S.
[[gnu::visibility("hidden")]] std::uint32_t libprobe_vector_width = 0;
}

namespace libprobe::arch {

namespace {

constexpr std::size_t chunk_bytes = 4096;
constexpr std::size_t key_offset = 16;
constexpr std::size_t most_vector_bytes = 4096;
// Up to the upper halves of zmm0-15, which come before all that no result lies in: RESULT_COMPONENTS in
// ordinary.S. In the layouts of Intel's processors; AMD's have no gap there.
constexpr std::uint32_t zmm_upper_size = 512, most_result_bytes = 1152 + zmm_upper_size;

// State components, Intel SDM vol. 1, 13.1.
constexpr std::uint32_t x87 = 1, sse = 2, avx = 4, opmask = 0x20, zmm_upper = 0x40, zmm_high = 0x80;
std::uint32_t zmm_upper_offset = 0;

std::uint64_t& word_at(std::uintptr_t address) noexcept { return *reinterpret_cast<std::uint64_t*>(address); }

void divert(registers& regs, std::uintptr_t word, void (*to)()) noexcept {
  word_at(regs.rsp - key_offset) = word;  // a function that has not begun uses no red zone
  regs.rip = reinterpret_cast<std::uintptr_t>(to);
}

std::uintptr_t initial_stack_end = 0;

/// How many of `wanted` bytes are there: what lies above the last frame of a stack may not be mapped. A
/// debugger stops where that is found out by a fault, so first by what is known: the first thread's stack
/// ends where the kernel ends it, and others end below their thread's control block. Fibers' are left.
std::size_t readable(std::uintptr_t from, std::size_t wanted) noexcept {
  for (const auto end : {thread_base(), initial_stack_end}) {
    if (end - from < wanted) wanted = end - from;
  }
  constexpr std::uintptr_t page = 4096;
  for (auto at = (from | (page - 1)) + 1; at < from + wanted; at += page) {
    std::uint64_t ignored = 0;
    if (!guarded_load(at, ignored)) return at - from;
  }
  return wanted;
}

void copy(std::byte* to, const std::byte* from, std::size_t offset, std::size_t size) noexcept {
  auto* target = to + offset;
  const auto* source = from + offset;
  asm volatile("rep movsb" : "+D"(target), "+S"(source), "+c"(size) : : "memory");
}

}  // namespace

void divert_to_entry(registers& regs, std::uintptr_t word) noexcept {
  divert(regs, word, libprobe_ordinary_entry);
}

void divert_to_replacement(registers& regs, std::uintptr_t word) noexcept {
  divert(regs, word, libprobe_replacement_entry);
}

bool is_return_slot(std::size_t number) noexcept { return number % (chunk_bytes / return_slot_bytes) != 0; }

void call_from_slot(registers& regs, std::uintptr_t body, std::size_t number) noexcept {
  const auto from = call_from_detour(regs, body, number);
  regs.rsp += sizeof(std::uint64_t);
  regs.rip = from;
}

void return_to_slot(registers& regs, std::size_t number) noexcept {
  libprobe_saved_returns[number] = regs.rip;
  regs.rip = return_slot(number);
  word_at(regs.rsp - sizeof(std::uint64_t)) = regs.rip;  // as a return leaves it
}

void follow_behind_branch(registers& regs, std::uintptr_t sp, std::size_t number) noexcept {
  if (regs.rsp > sp) return return_to_slot(regs, number);  // it was a return
  hijack_return(sp, number);
}

bool lies_on_stack(std::size_t number, std::uintptr_t sp) noexcept {
  std::uint64_t word = 0;
  return guarded_load(sp, word) &&
         (word == return_slot(number) || (has_returned(number) && word == saved_return(number)));
}

void set_initial_stack_end(std::uintptr_t end) noexcept { initial_stack_end = end; }

void call_function(const void* entry, const registers& regs, const void* vectors, std::size_t stack_bytes,
                   outcall& call) {
  const auto area = regs.rsp + sizeof(std::uint64_t);
  libprobe_call(entry, &regs, vectors, readable(area, stack_bytes & ~std::size_t{7}), &call);
}

void reload_vectors(const registers& regs, vector_use saved) noexcept {
  if (regs.vectors_.xmm != nullptr)
    libprobe_reload_vectors(&regs, saved.most() == vector_use::low_halves ? 1 : 0);
}

void return_early(outcall& call) noexcept { libprobe_return_early(call.frame); }

void call_in_place(const void* entry, registers& regs, void* vectors, std::size_t stack_bytes,
                   result_registers result) {
  alignas(64) std::byte after[most_result_bytes];
  auto* header = reinterpret_cast<std::uint64_t*>(after + 512);
  for (int i = 0; i < 8; ++i) header[i] = 0;
  outcall call;
  call.vectors = after;
  call_function(entry, regs, vectors, stack_bytes, call);

  const auto comes_in = [result](result_registers one) { return (result & one) != result_registers::none; };
  auto* const before = static_cast<std::byte*>(vectors);
  if (comes_in(result_registers::first_integer)) regs.rax = call.rax;
  if (comes_in(result_registers::second_integer)) regs.rdx = call.rdx;
  // Rounding and masks belong to the thread, and so do the exceptions that were raised: what fesetround() and
  // its like do in `entry` is for good. (The x87 status word holds the stack's top too: it comes with a
  // result.)
  copy(before, after, 0, 2);   // x87 control word
  copy(before, after, 24, 4);  // MXCSR
  std::uint64_t changed = x87 | sse;
  if (comes_in(result_registers::x87)) {
    copy(before, after, 0, 24);
    copy(before, after, 32, 128);
  }
  constexpr result_registers vector_results[] = {result_registers::first_vector,
                                                 result_registers::second_vector};
  for (std::size_t i = 0; i < 2; ++i) {
    if (!comes_in(vector_results[i])) continue;
    copy(before, after, 160 + 16 * i, 16);
    if ((libprobe_vector_mask & avx) != 0) copy(before, after, 576 + 16 * i, 16);
    if ((libprobe_vector_mask & zmm_upper) != 0) copy(before, after, zmm_upper_offset + 32 * i, 32);
    changed |= avx | zmm_upper;
  }
  if (regs.vectors_.in_use != nullptr) *regs.vectors_.in_use |= header[0] & changed;
  regs.leave_function();
}

void call_live(const void* entry, registers& regs, std::size_t stack_bytes, result_registers result) {
  const auto area = regs.rsp + sizeof(std::uint64_t);
  const auto words =
      stack_bytes == 0 ? 0 : readable(area, stack_bytes & ~std::size_t{7}) / sizeof(std::uint64_t);
  const auto made = libprobe_call_live(entry, &regs, words);
  const auto comes_in = [result](result_registers one) { return (result & one) != result_registers::none; };
  if (regs.vectors_.xmm != nullptr &&
      comes_in(result_registers::first_vector | result_registers::second_vector))
    libprobe_keep_result(&regs, static_cast<unsigned>(result));
  if (comes_in(result_registers::first_integer)) regs.rax = made.rax;
  if (comes_in(result_registers::second_integer)) regs.rdx = made.rdx;
}

bool in_detour_code(std::uintptr_t ip) noexcept {
  const auto between = [ip](const char* first, const char* last) {
    return ip - reinterpret_cast<std::uintptr_t>(first) < static_cast<std::uintptr_t>(last - first);
  };
  return between(libprobe_detour_code, libprobe_detour_code_end) ||
         between(libprobe_direct_code, libprobe_direct_code_end);
}

void prepare_ordinary(std::uint64_t components) noexcept {
  constexpr std::uint32_t wanted = x87 | sse | avx | opmask | zmm_upper | zmm_high;
  const auto mask = static_cast<std::uint32_t>(components) & wanted;
  if (mask == 0) return;
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  std::uint64_t size = 512 + 64;
  for (unsigned component = 2; component < 32; ++component) {
    if ((mask >> component & 1U) == 0) continue;
    __cpuid_count(0xd, component, a, b, c, d);  // eax: size, ebx: offset
    size = std::max<std::uint64_t>(size, std::uint64_t{a} + b);
    if (1U << component == zmm_upper) zmm_upper_offset = b;
  }
  if (size > most_vector_bytes || zmm_upper_offset + zmm_upper_size > most_result_bytes) return;
  libprobe_vector_size = size;
  libprobe_vector_mask = mask;
  constexpr std::uint32_t avx512 = opmask | zmm_upper | zmm_high;
  libprobe_vector_width = (mask & avx512) == avx512 ? 2 : (mask & avx) != 0 ? 1 : 0;
}

}  // namespace libprobe::arch
