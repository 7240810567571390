#include "control/request.hpp"

#include "control/counter_store.hpp"

namespace libprobe::control {

void request::show() noexcept {
  if (ledger != nullptr) {
    placed_before = placed_at->exchange(address, std::memory_order_relaxed);
    auto* const mine = what->book.get();
    auto* const before = static_cast<site::ledger*>(ledger->exchange(mine, std::memory_order_acq_rel));
    ledger_before = before != mine ? before : nullptr;
  }
  handle->store(what, std::memory_order_release);
}

void request::show_as_before() const noexcept {
  if (ledger == nullptr) return;
  placed_at->store(placed_before, std::memory_order_relaxed);
  ledger->store(ledger_before, std::memory_order_release);
}

void request::give_ledger_before() const noexcept {
  if (ledger_before != nullptr && ledger_before->last.load(std::memory_order_relaxed) != site::ledger::open)
    give_ledger(ledger_before);
}

}  // namespace libprobe::control
