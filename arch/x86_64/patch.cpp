// What stands in text in each phase of a patch. Part of the hit path.
#include "arch/patch.hpp"

#include <algorithm>

namespace libprobe::arch {

const char* name_of(tactic how) noexcept {
  switch (how) {
    case tactic::breakpoint:
      return "breakpoint";
    case tactic::over_long:
      return "over_long";
    case tactic::punned:
      return "punned";
    case tactic::prefixed:
      return "prefixed";
    case tactic::over_several:
      return "over_several";
  }
  return "";
}

phase next_phase(phase now, phase wanted) noexcept {
  if (wanted == phase::jump)
    return std::max(phase::staged, static_cast<phase>(static_cast<unsigned>(now) + 1));
  return now > phase::staged ? static_cast<phase>(static_cast<unsigned>(now) - 1) : wanted;
}

window_bytes image_of(phase now, std::span<const std::uint8_t> original) noexcept {
  window_bytes made{};
  made[0] = now == phase::original ? original[0] : breakpoint_bytes[0];
  return made;
}

window_bytes image_of(phase now, const jump_shape& shape, const window_bytes& original,
                      const window_bytes& jump) noexcept {
  auto made = now >= phase::tailed ? jump : original;
  if (now == phase::staged) {
    for (std::size_t i = 1; i < shape.window; ++i) {
      if ((shape.boundaries >> i & 1U) != 0) made[i] = jump[i];
    }
  }
  if (now != phase::original && now != phase::jump) made[0] = breakpoint_bytes[0];
  return made;
}

bool is_breakpoint(std::span<const std::uint8_t> code) noexcept {
  return !code.empty() && code[0] == breakpoint_bytes[0];
}

bool may_hold_breakpoint(std::span<const std::uint8_t> code) noexcept {
  return std::find(code.begin(), code.end(), breakpoint_bytes[0]) != code.end();
}

bool is_covered_by_breakpoints(std::span<const std::uint8_t> code,
                               std::span<const std::uint8_t> original) noexcept {
  return std::equal(code.begin(), code.end(), original.begin(), original.end(),
                    [](auto here, auto there) { return here == there || here == breakpoint_bytes[0]; });
}

bool may_begin_patch(std::uint8_t byte) noexcept {
  return byte == breakpoint_bytes[0] || byte == 0xe9 || byte == 0x3e || byte == 0x26 || byte == 0x36;
}

}  // namespace libprobe::arch
