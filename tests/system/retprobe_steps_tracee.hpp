// What the program whose steps are followed tells its tracer.
#pragma once

#include <cstdint>

namespace stepped {

/// Where functions begin. Written to the standard output; then the program stops by SIGSTOP before and after
/// the calls.
struct places {
  std::uintptr_t main, caller, outer, inner, return_handler;
};

}  // namespace stepped
