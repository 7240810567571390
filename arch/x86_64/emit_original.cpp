// Writes the way to the original of a replaced function.
#include <algorithm>

#include "arch/patch.hpp"
#include "arch/slot.hpp"
#include "code_writer.hpp"

namespace libprobe::arch {

// Whoever calls the original need not know that it is variadic, and such a function asks al how many vector
// registers hold arguments, at most (System V ABI, 3.2.3). For any other al means nothing at its entry.
result<slot_layout> emit_original(std::uintptr_t slot, std::uintptr_t body,
                                  std::span<std::uint8_t> code) noexcept {
  slot_layout layout;
  std::fill(code.begin(), code.end(), breakpoint_bytes[0]);
  code_writer out{code, slot};
  out.bytes({0xb0, 8});        // mov $8, %al
  layout.body = out.offset();  // as far as translate() knows, nothing has run
  out.jump(body);
  return layout;
}

}  // namespace libprobe::arch
