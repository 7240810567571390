// state: the extended state, vector registers and what belongs to them: what a handler may touch, what must
// be saved.
//
// The port gives (port/state.hpp): `vector_use`, a set of it, as one word that its assembly reads, with
//   nothing (the default), vectors(): all vector registers, and arithmetic's flags, whole(): what has no name
//   here, too, in_ordinary_context(): nothing, but handlers must run there; add(), within(); vectors_only(),
//   is_vectors(), is_more_than_vectors(), ordinary(); of(bits), bits();
// all_saved(), what a signal's frame holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <libprobe/registers.hpp>

#include "port/state.hpp"

namespace libprobe::arch {

/// Learns how much extended state there is, of enabled_state_components(). Before anything else here.
void prepare_ordinary(std::uint64_t components) noexcept;
/// Which parts of it the system has switched on, in the CPU's own words; 0: it does not say.
std::uint64_t enabled_state_components() noexcept;

/// Reads the code of a handler, and of all that it calls directly, for what it can do to the extended state.
/// What cannot be followed may do everything. Control side.
vector_use vectors_used_by(std::uintptr_t function) noexcept;
/// True if the code of a function keeps values, from instruction to instruction, where no `vectors` are: then
/// handlers in its middle need the whole state saved. (x87 on x86-64: its stack is empty in any other
/// function, or holds a result on its way to the caller, System V ABI, 3.2.1.) Control side.
bool keeps_more_than_vectors(std::span<const std::uint8_t> function) noexcept;

/// The vector registers that arguments come in are the program's again, as a detour saved them.
void reload_vectors(const registers& regs, vector_use saved) noexcept;

}  // namespace libprobe::arch
