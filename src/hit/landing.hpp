// Threads that come to an inner boundary of a jump's window.
#pragma once

#include "hit/retreat.hpp"
#include "site/site.hpp"

namespace libprobe::hit {

/// Where a thread that goes to a boundary of a window that is closed finds its instruction; 0: at the
/// boundary itself, or it is none. Inside a section; signal-safe.
inline std::uintptr_t copy_at(std::uintptr_t address) noexcept {
  const site::landing* at = site::landings.find(address);
  return at != nullptr ? at->copy.load(std::memory_order_acquire)
                       : 0;  // pairs with jump_planner::set_landings()
}

/// At a boundary of a window that is closed the thread goes on in the copy of the instruction that stood
/// there. Inside a section; signal-safe.
inline bool land(std::uintptr_t address, registers& regs) noexcept {
  site::landing* at = site::landings.find(address);
  if (at == nullptr) return false;
  const auto copy = at->copy.load(std::memory_order_acquire);  // pairs with jump_planner::set_landings()
  if (copy == 0) return false;
  regs.set_ip(copy);
  // A thread that was there when the jump was written comes once, and while text is being written all hits
  // come this way. But a branch comes again and again: then a breakpoint at the jump's own place costs less.
  constexpr std::uint32_t too_many = 64;
  const bool settled = (site::text_version.load(std::memory_order_relaxed) & 1) == 0;
  if (settled && at->traps.fetch_add(1, std::memory_order_relaxed) >= too_many) {
    at->traps.store(0, std::memory_order_relaxed);
    retreat(at->jump_at.load(std::memory_order_relaxed));
  }
  return true;
}

/// The same for one that came there by a fault: where jumps are written under a debugger an opcode that does
/// not exist stands at inner boundaries. `text` was watched since the fault came in.
inline bool land_from_fault(const site::text_watch& text, registers& regs) noexcept {
  if (site::landings.find(regs.ip()) == nullptr) return false;
  if (land(regs.ip(), regs)) return true;
  // Restored meanwhile: the instruction itself stands there again.
  return text.changed();
}

}  // namespace libprobe::hit
