// Return slots as C++ knows them: tables beside their code, see return_slots.S. Part of the hit path, a few
// instructions each.
#pragma once

#include <cstddef>
#include <cstdint>

#include <libprobe/registers.hpp>

#include "port/state.hpp"
#include "return_slots.h"

extern "C" {
extern const char libprobe_return_slots[] __attribute__((visibility("hidden")));
extern std::uint64_t libprobe_saved_returns[] __attribute__((visibility("hidden")));
extern std::uint64_t libprobe_call_targets[] __attribute__((visibility("hidden")));
extern std::uint32_t libprobe_return_vectors[] __attribute__((visibility("hidden")));
}

namespace libprobe::arch {

/// A word on the program's stack: no sanitizer watches it there, where it may be a red zone.
inline std::uint64_t stack_word(std::uintptr_t at) noexcept {
  std::uint64_t word = 0;
  asm volatile("movq (%1), %0" : "=r"(word) : "r"(at) : "memory");
  return word;
}
inline void set_stack_word(std::uintptr_t at, std::uint64_t word) noexcept {
  asm volatile("movq %1, (%0)" : : "r"(at), "r"(word) : "memory");
}

/// Return slots, by number: where followed calls return to. Not every number below the count has one.
inline constexpr std::size_t return_slot_count = std::size_t{128} * RETURN_CHUNKS;
inline constexpr std::size_t return_slot_bytes = 32;
inline constexpr std::size_t return_word = sizeof(std::uint64_t);
inline constexpr std::size_t slot_call_bytes = 6;  // the call of a slot ends where the slot begins

/// The address that a followed call returns to.
inline std::uintptr_t return_slot(std::size_t number) noexcept {
  return reinterpret_cast<std::uintptr_t>(libprobe_return_slots) + number * return_slot_bytes;
}
/// The number of the slot that an address lies in; return_slot_count: in none.
inline std::size_t return_slot_at(std::uintptr_t ip) noexcept {
  const auto offset = ip - reinterpret_cast<std::uintptr_t>(libprobe_return_slots);
  return offset < return_slot_count * return_slot_bytes ? (offset + slot_call_bytes) / return_slot_bytes
                                                        : return_slot_count;
}
/// What the handlers at its return may do to the extended state. Before the function runs.
inline void set_return_vectors(std::size_t number, vector_use use) noexcept {
  libprobe_return_vectors[number] = use.bits();
}
inline vector_use return_vectors(std::size_t number) noexcept {
  return vector_use::of(libprobe_return_vectors[number] & RETURN_VECTORS_MASK);
}
/// The function has returned to its slot: from there on the true return address lies on the stack again.
inline bool has_returned(std::size_t number) noexcept {
  return (libprobe_return_vectors[number] & ~std::uint32_t{RETURN_VECTORS_MASK}) != 0;
}
/// Where the followed call truly returns to.
inline std::uintptr_t saved_return(std::size_t number) noexcept { return libprobe_saved_returns[number]; }
/// The slot whose saved return address lies there.
inline std::size_t slot_of_saved(const void* place) noexcept {
  return static_cast<std::size_t>(static_cast<const std::uint64_t*>(place) - libprobe_saved_returns);
}
inline void* saved_place(std::size_t number) noexcept { return &libprobe_saved_returns[number]; }
inline std::uintptr_t return_address(const registers& regs) noexcept { return stack_word(regs.rsp); }

/// A function that has begun, and whose return address lies at `sp`, will return to the slot.
inline void hijack_return(std::uintptr_t sp, std::size_t number) noexcept {
  libprobe_saved_returns[number] = stack_word(sp);
  set_stack_word(sp, return_slot(number));
}
inline std::uintptr_t call_from_detour(const registers& regs, std::uintptr_t body,
                                       std::size_t number) noexcept {
  hijack_return(regs.rsp, number);  // the call will write the same once more; until then a signal may look
  libprobe_call_targets[number] = body;
  return return_slot(number) - slot_call_bytes;
}

}  // namespace libprobe::arch
