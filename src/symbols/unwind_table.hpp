// Function extents out of the unwind tables (.eh_frame), for code without symbols.
#pragma once

#include <cstdint>
#include <optional>

#include "symbols/symbols.hpp"

namespace libprobe::symbols {

/// The range of the unwind entry that covers the address. Asks the unwinder of the C++ run time, which knows
/// generated code that was registered with it, too. (Not libunwind: a program linked with that has its
/// exceptions thrown by one unwinder and its threads cancelled by the other, and dies of it.)
std::optional<extent> by_unwind_table(std::uintptr_t address);

}  // namespace libprobe::symbols
