// Executable memory near a given address. Never writable and executable at once: it is written by
// write_text().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace libprobe::os {

/// Maps `size` bytes of readable and executable memory, aligned to `size` (a power of two), as near to `near`
/// as possible and not farther than `reach`; reach 0: anywhere. Nothing if there is no room. Blocks,
/// allocates.
std::optional<std::uintptr_t> map_code(std::uintptr_t near, std::uintptr_t reach, std::size_t size);
void unmap_code(std::uintptr_t address, std::size_t size) noexcept;

}  // namespace libprobe::os
