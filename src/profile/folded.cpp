#include <algorithm>
#include <ostream>

#include "profile/stacks.hpp"

namespace libprobe {

void write_folded(std::ostream& out, std::span<const profile_stack> stacks, stack_weight weight) {
  for (const auto& stack : stacks) {
    const auto weighs = profile::weight_of(stack, weight);
    if (weighs == 0) continue;
    const char* between = "";
    for (auto frame : stack.frames) {
      std::ranges::replace(frame, ';', ',');  // it parts the frames
      out << between << frame;
      between = ";";
    }
    out << ' ' << weighs << '\n';
  }
}

}  // namespace libprobe
