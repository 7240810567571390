#include "control/held_write.hpp"

#include <sys/auxv.h>

#include <optional>

#include "control/engine.hpp"
#include "control/traced.hpp"
#include "os/barrier.hpp"
#include "os/hold.hpp"
#include "os/tracer.hpp"
#include "site/site.hpp"

namespace libprobe::control {

namespace {

/// Landings are control's to change.
bool has_landing(std::uintptr_t ip) noexcept {
  const auto* const at = site::landings.find(ip);
  return at != nullptr && at->copy.load(std::memory_order_relaxed) != 0;
}

/// A debugger that does not know libc's threads would stop at each signal that libc keeps to itself: it finds
/// them by a symbol of libc's, which a static program need not have.
bool stops_at_signal() noexcept { return os::is_traced() && getauxval(AT_BASE) == 0; }

}  // namespace

bool exchange_held(std::span<os::edit> edits, bool all_or_nothing) noexcept {
  std::optional<os::hold> others;
  // Libc, whose handler it was, may have put that there again where its system calls have no guard.
  if (traps_are_avoided() && !stops_at_signal() && take_over(os::hold_signal)) others.emplace(has_landing);
  const bool good = os::exchange_text(edits, all_or_nothing);
  if (others) os::synchronize_cores();
  return good;
}

}  // namespace libprobe::control
