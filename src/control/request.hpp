// One probe that wants to be placed: its specification, its address, and what its user's object shows of it.
//
// Floor: control, on site. Of control it knows specifications and the store of ledgers.
// Words: an *attachment* is the registered probe itself, what hits call; its *ledger* holds its counts, and
// its *handle* is the pointer to the attachment in the user's object.
#pragma once

#include <atomic>
#include <cstdint>

#include "control/specification.hpp"
#include "site/ledger.hpp"
#include "site/site.hpp"

namespace libprobe::control {

struct request : specification {
  site::attachment* what = nullptr;
  // In the user's object, each set when it is placed, or begins to wait; the last two are null for a guard.
  std::atomic<void*>* handle = nullptr;
  std::atomic<void*>* ledger = nullptr;
  std::atomic<std::uintptr_t>* placed_at = nullptr;
  std::uintptr_t address = 0;
  bool (*stand_in)(registers&) = nullptr;  // see site::stand_in; for guards
  bool only_learns = false;                // see site::only_learns
  bool waits = false;                      // for its module: its user's object shows it already
  // What that showed before: for a registration that fails, and for one that does not, to be given back.
  site::ledger* ledger_before = nullptr;
  std::uintptr_t placed_before = 0;

  /// The user's object shows this registration.
  void show() noexcept;
  /// And what it showed before, but for the handle: as long as that is set, the object waits for a commit.
  void show_as_before() const noexcept;
  /// The ledger that it showed before is nobody's. (That of an attachment which still waits for its commit
  /// goes with that one.)
  void give_ledger_before() const noexcept;
};

/// The handle's attachment; null: none.
inline site::attachment* attachment_of(const std::atomic<void*>& handle) noexcept {
  return static_cast<site::attachment*>(handle.load(std::memory_order_acquire));
}

}  // namespace libprobe::control
