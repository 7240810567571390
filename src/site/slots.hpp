// Code slots: where copied instructions run. A slot belongs to an address and its original bytes for good,
// refers to its site by that address only, and is used again when the address is probed again.
#pragma once

#include <cstdint>
#include <vector>

#include "arch/slot.hpp"
#include "site/table.hpp"

namespace libprobe::site {

struct slot {
  std::uintptr_t address = 0;  // of the displaced instruction
  std::uintptr_t code = 0;     // of the slot; 0: not in use
  arch::slot_layout layout;
  // Entered with the trap flag set, and only so: whoever leaves it has the flag to clear, whatever became of
  // the site meanwhile.
  bool stepped = false;
  bool linked = false;    // control only: other code leads to it, so it is there for good
  slot* older = nullptr;  // control only: of the same kind and address, with other code

  [[nodiscard]] std::uintptr_t jump_part() const noexcept { return code; }
  [[nodiscard]] std::uintptr_t trap_part() const noexcept { return arch::trap_part(layout, code); }
  /// Where that traps; 0: it has none.
  [[nodiscard]] std::uintptr_t end_of_trap_part() const noexcept {
    return arch::end_of_trap_part(layout, code);
  }
};

inline constexpr std::size_t chunk_size = std::size_t{64} * 1024;
inline constexpr std::size_t slots_in_chunk = chunk_size / arch::slot_unit;

/// A run of slots in one mapping of executable memory; lives as long as the process.
struct chunk {
  std::uintptr_t base = 0;
  std::size_t used = 0;                  // control only: units from here on have never been handed out
  std::vector<std::uint16_t> reclaimed;  // control only: units that may be handed out again
  slot slots[slots_in_chunk];
};

/// Chunks by base address. Written by control, read by the hit path. Chunks never die, but the table may be
/// replaced by a larger one: read it inside a section.
extern constinit table<chunk> chunks;

/// The slot that an instruction pointer lies in; null if none. Inside a section; signal-safe.
inline const slot* slot_at(std::uintptr_t ip) noexcept {
  const chunk* in = chunks.find(ip & ~(chunk_size - 1));
  if (in == nullptr) return nullptr;
  std::size_t unit = (ip - in->base) / arch::slot_unit;
  // The second unit of a long slot has no entry of its own.
  if (in->slots[unit].code == 0 && unit > 0) --unit;
  const slot& found = in->slots[unit];
  return found.code != 0 && ip - found.code < found.layout.units * arch::slot_unit ? &found : nullptr;
}

}  // namespace libprobe::site
