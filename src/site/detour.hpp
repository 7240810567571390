// Sites that are reached by a jump: what stands in the text, and what the jump's code refers to.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "arch/patch.hpp"
#include "os/atomic.hpp"
#include "site/slots.hpp"

namespace libprobe::site {

struct site;
struct direct_call;

/// What stands at a site's address.
using text = arch::phase;

/// What a site's detour can do. The last three serve attachments of one kind only, and faster.
enum class purpose : std::uint8_t {
  any,
  count,    // for one attachment that wants no more
  follow,   // calls the function from a return slot
  replace,  // for one replacement
};

/// The bytes of a jump, and of what it covers.
struct jump_text {
  arch::jump_shape shape;
  arch::window_bytes original{};
  arch::window_bytes jump{};
  std::array<std::uintptr_t, arch::longest_window> copies{};  // of the instruction at an inner boundary
  // An earlier jump that still stands there, to be exchanged for this one: so many bytes of it.
  arch::window_bytes replaces{};
  std::uint8_t replaced = 0;

  /// That is what stands there, as a jump.
  void replace(const jump_text& earlier) noexcept {
    const auto window = std::max(shape.window, earlier.shape.window);
    for (std::size_t i = shape.window; i < window; ++i) jump[i] = original[i] = earlier.original[i];
    for (std::size_t i = 0; i < window; ++i)
      replaces[i] = i < earlier.shape.window ? earlier.jump[i] : original[i];
    replaced = window;
  }
};

/// What the code of a detour refers to: one for each address that ever had one. It lives as long as that
/// code.
struct detour {
  std::uintptr_t address = 0;
  atomic<std::uint32_t> vectors{0};  // what the handlers may do (arch::vector_use): read by arch, too
  atomic<const direct_call*> direct{
      nullptr};                     // all there is to do, if it is that. Read inside a section, by arch
  atomic<site*> at{nullptr};        // null: nothing is registered there. Read inside a section
  atomic<std::uintptr_t> body{0};   // the copy that its latest code goes on in
  std::uint64_t* column = nullptr;  // what its counting code counts in; for good, as the code
};

/// An inner boundary of a jump's window: who comes there traps, and goes on in the copy of that instruction.
struct landing {
  atomic<std::uintptr_t> copy{0};  // 0: the original text stands there again
  atomic<std::uintptr_t> jump_at{0};
  atomic<std::uint32_t> traps{0};
};

}  // namespace libprobe::site
