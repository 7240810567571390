// Guards in the dynamic loader: by them libprobe learns that modules come and go.
//
// Floor: control, on symbols. Of control it knows single guards only: whom they tell is given.
#pragma once

#include <vector>

#include "control/guard.hpp"

namespace libprobe::control {

/// At the function that the loader calls for debuggers, before and after each change (r_debug::r_brk): by
/// then an unloaded module's memory has just gone. Empty: the loader does not tell, or somebody else's
/// breakpoint stands there. Throws std::bad_alloc.
std::vector<request> unloading_guards(const loader_hooks& tell);

/// Where the loader is about to call constructors (or destructors): all modules are relocated, so even the
/// resolvers of IFUNCs can be called, and the calling thread holds no lock but those of any constructor.
/// Throws std::bad_alloc.
std::vector<request> constructor_guards(const loader_hooks& tell);

}  // namespace libprobe::control
