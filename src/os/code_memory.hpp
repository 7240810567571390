// Executable memory near a given address. Never writable and executable at once: it is written by
// write_text().
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace libprobe::os {

/// Maps `size` bytes of readable and executable memory, aligned to `size` (a power of two), as near to `near`
/// as possible and not farther than `reach`; reach 0: anywhere. Nothing if there is no room. Blocks,
/// allocates.
std::optional<std::uintptr_t> map_code(std::uintptr_t near, std::uintptr_t reach, std::size_t size);
void unmap_code(std::uintptr_t address, std::size_t size) noexcept;

/// Maps memory as map_code() does, at that very address. False: something is mapped there, or the kernel
/// refuses.
bool map_code_at(std::uintptr_t address, std::size_t size) noexcept;

/// Pages [start, end) that nothing is mapped at and that code may be mapped at: off the room that the stack
/// and the heap grow into. In order of address. As dear as read_maps().
struct address_range {
  std::uintptr_t start, end;
};
std::vector<address_range> free_for_code();

}  // namespace libprobe::os
