// What a stack weighs.
#pragma once

#include <cmath>
#include <libprobe/profile.hpp>

namespace libprobe::profile {

inline std::uint64_t weight_of(const profile_stack& stack, stack_weight by) {
  switch (by) {
    case stack_weight::calls:
      return stack.calls;
    case stack_weight::self_time:
      return static_cast<std::uint64_t>(std::llround(stack.self_ns));
    case stack_weight::value:
      return stack.value;
  }
  return 0;
}

}  // namespace libprobe::profile
