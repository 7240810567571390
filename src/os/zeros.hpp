// Memory that costs nothing until it is written.
#pragma once

#include <cstddef>

namespace libprobe::os {

/// Maps `size` bytes of zeros, readable and writable, of which untouched pages take no memory. Null if
/// refused.
void* map_zeros(std::size_t size) noexcept;

/// Makes all of it zero again, and gives its pages back to the system.
void clear_zeros(void* from, std::size_t size) noexcept;

}  // namespace libprobe::os
