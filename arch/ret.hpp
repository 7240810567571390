// ret: where a function will return to, and return slots, to which followed calls return instead.
//
// The port gives (port/ret.hpp): return_slot_count, and what is inline of what follows; return_word, the
// bytes that a call takes on the stack: 0 where the return address is in a register.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include <libprobe/registers.hpp>

#include "arch/slot.hpp"
#include "arch/state.hpp"
#include "port/ret.hpp"

namespace libprobe::arch {

// All signal-safe. "At a function's first instruction" means: nothing of it has run.

/// At a function's first instruction: the address that it will return to.
std::uintptr_t return_address(const registers& regs) noexcept;

// Return slots, by number. Not every number below return_slot_count has one.
bool is_return_slot(std::size_t number) noexcept;
/// The address that a followed call returns to.
std::uintptr_t return_slot(std::size_t number) noexcept;
/// The number of the slot that an address lies in; return_slot_count: in none.
std::size_t return_slot_at(std::uintptr_t ip) noexcept;

// A function will return to the slot,
/// at its first instruction, whose code goes on at `body`: it is called from the slot, so that what the CPU
/// predicts of returns, and a shadow stack, see a matching pair. The address for the variable of a detour
/// that `follows`.
std::uintptr_t call_from_detour(const registers& regs, std::uintptr_t body, std::size_t number) noexcept;
/// the same, for a thread that goes on at regs,
void call_from_slot(registers& regs, std::uintptr_t body, std::size_t number) noexcept;
/// whose first instruction was a branch, and has run; `sp`: the stack pointer before it,
void follow_behind_branch(registers& regs, std::uintptr_t sp, std::size_t number) noexcept;
/// that has returned already (its result overridden).
void return_to_slot(registers& regs, std::size_t number) noexcept;

/// What the handlers at its return may do to the extended state. Before the function runs.
void set_return_vectors(std::size_t number, vector_use use) noexcept;
vector_use return_vectors(std::size_t number) noexcept;
/// Where the followed call truly returns to, and where that is kept.
std::uintptr_t saved_return(std::size_t number) noexcept;
void* saved_place(std::size_t number) noexcept;
/// The slot whose saved return address lies there.
std::size_t slot_of_saved(const void* place) noexcept;
/// The call of that slot, begun where the stack pointer was `sp`, has not been left as far as the stack's
/// memory tells: its return address lies where it must.
bool lies_on_stack(std::size_t number, std::uintptr_t sp) noexcept;

/// For registers seen inside a return slot; nothing if they were not.
std::optional<way_back> translate_return(registers& regs) noexcept;

}  // namespace libprobe::arch

extern "C" {
/// In src/hit: a followed call has returned; regs.ip() is where it goes on.
void libprobe_on_return(libprobe::registers* regs, std::size_t number, void* vectors, std::uint32_t saved);
/// Where the personality routine of the return slots sends an exception. Its two data registers: the
/// exception, and where the true return address is saved.
void libprobe_unwound();
/// In src/hit: called there. The call that returns to this saved address has ended; where to go on as
/// _Unwind_Resume().
std::uintptr_t libprobe_on_unwound(const void* saved);
}
