// The few facts about the CPU's calling machinery that names need: how a linkage stub, a relocation and a
// signal-return stub look.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace libprobe::arch {

/// If the code is that of a procedure linkage stub (with or without endbr64, bnd, an index for the lazy
/// binder): the address of the slot that it jumps through. Allocates nothing.
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

/// The page with the kernel's legacy entry points, [start, end): fixed, and no module.
inline constexpr std::uintptr_t legacy_kernel_entry_start = 0xffffffffff600000;
inline constexpr std::uintptr_t legacy_kernel_entry_end = 0xffffffffff601000;

}  // namespace libprobe::arch
