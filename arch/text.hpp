// text: what this CPU needs beyond the bytes, where code changes under threads that run it.
//
// The port gives (port/text.hpp): code_page, in multiples of which executable memory is had: the largest page
// that kernels for the CPU have.
#pragma once

#include <cstddef>
#include <cstdint>

#include "port/text.hpp"

namespace libprobe::arch {

/// After code was written there, before anything may run it: caches. Signal-safe.
void code_was_written(std::uintptr_t at, std::size_t size) noexcept;

/// True if the kernel interrupts the CPUs that run a process when it takes a page away from it; false where
/// the CPU can tell the others by itself.
bool page_flush_interrupts() noexcept;
/// True if the program's instructions are not run but translated: it never sees text change.
bool is_translated() noexcept;

}  // namespace libprobe::arch
