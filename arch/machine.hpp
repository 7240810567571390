// machine: what code that is not about probes needs to know of the CPU: system calls without libc, threads'
// bases, counters, linkage.
//
// The port gives (port/machine.hpp) what is inline of what follows, and thread_base_in_user_area, where a
// tracer finds a thread's base; legacy_kernel_entry_start and legacy_kernel_entry_end, code of the kernel's
// that is in no module.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace libprobe::arch {

/// A raw system call: no errno, no cancellation point, nothing of libc, so a probe on libc never sees it.
/// Returns the kernel's answer, negative errno included.
long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = 0) noexcept;

/// The thread's own base: thread-local variables of programs and libraries that were there at its start lie
/// at the same distance from it in every thread. (ELF Handling For Thread-Local Storage)
std::uintptr_t thread_base() noexcept;

/// For a thread that waits for another one's store.
void cpu_relax() noexcept;
/// Adds to a counter that only this thread writes, so that no signal handler of the thread comes in between.
void add_own(std::uint64_t& counter, std::int64_t more) noexcept;
/// The fastest clock that there is, in units of its own.
std::uint64_t ticks() noexcept;

// ---- how names are linked; allocate nothing

/// If the code is that of a procedure linkage stub: the address of the slot that it jumps through.
std::optional<std::uintptr_t> linkage_slot(std::span<const std::uint8_t> code,
                                           std::uintptr_t address) noexcept;
/// True for the relocations that store the address of a function found by name: those of linkage slots.
bool stores_function_address(std::uint64_t relocation_type) noexcept;
/// How many bytes of an address, or a distance, such a relocation stores; 0: none.
std::size_t stored_bytes(std::uint64_t relocation_type) noexcept;

/// The signal-return stub as unwinders know it, and where in it instructions start.
struct stub {
  std::span<const std::uint8_t> bytes;
  std::span<const std::size_t> instructions;
};
stub signal_return() noexcept;

}  // namespace libprobe::arch

#include "port/machine.hpp"
