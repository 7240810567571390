#include "control/counter_store.hpp"

#include <mutex>
#include <utility>
#include <vector>

#include "control/registry.hpp"
#include "epoch/epoch.hpp"
#include "os/zeros.hpp"
#include "site/counter.hpp"

namespace libprobe::control {

namespace {

// Never destroyed: probes of static storage duration count to the end.
std::vector<std::uint64_t*>& free_columns() {
  static auto* const one = new std::vector<std::uint64_t*>;
  return *one;
}

void give_column(std::uint64_t* column) {
  // fork() was called by a signal handler that interrupted one of these: in the child the column is nobody's.
  if (registry::instance().stores().is_mine()) return;
  const std::lock_guard guard{registry::instance().stores()};
  free_columns().push_back(column);  // has the room: it was there before
}

constinit site::ledger* free_ledgers = nullptr;

void take_back(site::ledger& mine) noexcept {
  if (auto* const column = mine.own.column.exchange(nullptr, std::memory_order_relaxed)) give_column(column);
}

}  // namespace

counter_column take_column() noexcept {
  const std::lock_guard guard{registry::instance().stores()};
  try {
    auto& free = free_columns();
    if (free.empty()) {
      static std::size_t made = 0;
      free.reserve(made + site::counter::columns);
      void* const block = os::map_zeros(epoch::most_rows() * epoch::row_bytes);
      if (block == nullptr) return {nullptr, nullptr};
      made += site::counter::columns;
      for (std::size_t i = site::counter::columns; i-- > 0;)
        free.push_back(static_cast<std::uint64_t*>(block) + i);
    }
    counter_column taken{free.back(), give_column};
    free.pop_back();
    return taken;
  } catch (const std::bad_alloc&) {
    return {nullptr, nullptr};
  }
}

site::ledger_ptr take_ledger() {
  site::ledger* made = nullptr;
  {
    const std::lock_guard guard{registry::instance().stores()};
    if (free_ledgers == nullptr) {
      constexpr std::size_t at_once = 64;
      auto* const block = new site::ledger[at_once];  // for good
      for (std::size_t i = at_once; i-- > 0;) block[i].next_free = std::exchange(free_ledgers, &block[i]);
    }
    made = std::exchange(free_ledgers, free_ledgers->next_free);
  }
  made->use.fetch_add(1, std::memory_order_relaxed);
  std::atomic_thread_fence(
      std::memory_order_release);  // pairs with read_stable(): what follows shows the odd number
  made->by_others.store(0, std::memory_order_relaxed);
  made->missed.store(0, std::memory_order_relaxed);
  made->last.store(site::ledger::open, std::memory_order_relaxed);
  made->shown.store(site::ledger::open, std::memory_order_relaxed);
  made->body.store(0, std::memory_order_relaxed);
  made->from.store(&made->own, std::memory_order_relaxed);
  auto* const column = take_column().release();
  made->own.set(column, column != nullptr ? site::sum_of_column(column) : 0);
  made->use.fetch_add(1, std::memory_order_release);  // pairs with read_stable()
  return {made, give_ledger};
}

void close(site::ledger& mine) noexcept {
  // Released, before its column can be another's: pairs with ledger::hits().
  mine.last.store(mine.hits(), std::memory_order_release);
  take_back(mine);
}

void give_ledger(site::ledger* mine) noexcept {
  take_back(*mine);
  if (registry::instance().stores().is_mine()) return;  // as in give_column()
  const std::lock_guard guard{registry::instance().stores()};
  mine->next_free = std::exchange(free_ledgers, mine);
}

}  // namespace libprobe::control
