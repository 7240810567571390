// Functions written in Go.
#pragma once

#include <cstdint>

namespace libprobe::symbols {

class module;

/// True if the code at the address in the module is Go's, or cannot be told from it. Go's functions run on
/// small stacks that its runtime copies elsewhere, and its own unwinder ends the program where it meets what
/// it does not know. C functions of the same module, which Go calls by cgo, run on threads' stacks.
bool may_be_go_code(const module& owner, std::uintptr_t address);

}  // namespace libprobe::symbols
