// Proof that nobody is, or will come back, inside a slot that no site uses any more.
//
// Floor: control, on os. Knows nothing else of control.
// Words: a *word* is aligned memory that may hold an instruction pointer; it is *held* while some thread may
// still load it.
#pragma once

#include <cstdint>
#include <functional>

namespace libprobe::control {

/// Calls `seen` with every word that could be an instruction pointer which some thread still holds: the
/// threads' own, and, since a signal frame or a saved context may lie anywhere, every aligned word of the
/// process's writable memory but for what lies below a thread's stack. `skip(address, size)` says which
/// memory is not to be looked at.
///
/// True only if no other thread ran meanwhile, so that the words hold good together. May take long (it reads
/// all of the process's memory); blocks, allocates.
bool visit_held_words(const std::function<bool(std::uintptr_t address, std::size_t size)>& skip,
                      const std::function<void(std::uintptr_t word)>& seen);

}  // namespace libprobe::control
