// Part of the hit path: handlers and signal handlers read counts, too.
#include "site/ledger.hpp"

#include "site/counter.hpp"

namespace libprobe::site {

namespace {

/// What `read` finds in the ledger that `where` leads to, both before and after.
template <class Read>
[[gnu::always_inline]] inline std::uint64_t read_stable(const std::atomic<void*>& where, Read read) noexcept {
  for (;;) {
    const auto* const found = static_cast<const ledger*>(where.load(std::memory_order_acquire));
    if (found == nullptr) return 0;
    const auto use = found->use.load(std::memory_order_acquire);  // pairs with ready()
    const auto answer = read(*found);
    std::atomic_thread_fence(std::memory_order_acquire);
    if ((use & 1) == 0 && where.load(std::memory_order_relaxed) == found &&
        found->use.load(std::memory_order_relaxed) == use)
      return answer;
  }
}

}  // namespace

std::uint64_t ledger::hits() const noexcept {
  // In this order: a column that has become another's shows that `last` is known.
  const auto& used = *from.load(std::memory_order_acquire);
  auto sum = by_others.load(std::memory_order_relaxed);
  const auto* const column = used.column.load(std::memory_order_relaxed);
  if (column != nullptr) sum += sum_of_column(column) - used.base.load(std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_acquire);  // pairs with close()
  const auto known = last.load(std::memory_order_relaxed);
  if (known != open) return known;
  const auto stopped = shown.load(std::memory_order_relaxed);
  return stopped != open ? stopped : sum;
}

std::uint64_t hits_of(const std::atomic<void*>& where) noexcept {
  return read_stable(where, [](const ledger& l) { return l.hits(); });
}
std::uint64_t missed_of(const std::atomic<void*>& where) noexcept {
  return read_stable(where, [](const ledger& l) { return l.missed.load(std::memory_order_relaxed); });
}
std::uintptr_t original_of(const std::atomic<void*>& where) noexcept {
  return read_stable(where, [](const ledger& l) {
    const bool over = l.last.load(std::memory_order_relaxed) != ledger::open;
    return over ? 0 : l.body.load(std::memory_order_acquire);
  });
}

}  // namespace libprobe::site
