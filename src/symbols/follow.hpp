// From the value of a function pointer to the code that really runs.
#pragma once

#include <cstdint>

#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::symbols {

/// Follows linkage stubs (those of non-PIE programs, bound or not yet) and IFUNCs to the code behind them;
/// any other address stays as it is. May ask the loader and call an IFUNC's resolver.
std::uintptr_t follow(const snapshot& now, std::uintptr_t function);

/// The code that a call of the symbol reaches: for an IFUNC what the loader bound, or what the resolver
/// answers; 0 if it has been unloaded.
std::uintptr_t code_of(const module& owner, const symbol& which);

}  // namespace libprobe::symbols
