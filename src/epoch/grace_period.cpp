// The writer's side: pays for the barriers that readers do without, and waits.
#include <algorithm>

#include "epoch/backoff.hpp"
#include "epoch/records.hpp"
#include "os/barrier.hpp"
#include "os/signals.hpp"

namespace libprobe::epoch {

namespace {

std::atomic<std::uint64_t> completed{0};

}  // namespace

void prepare() noexcept {
  os::prepare_barriers();
  // While `readers_pay` is true readers need nobody's help; it may go false as soon as heavy_barrier() works.
  detail::readers_pay.store(!os::barriers_are_asymmetric(), std::memory_order_seq_cst);
}

void synchronize() noexcept {
  const auto target = detail::current.fetch_add(1, std::memory_order_seq_cst) + 1;
  os::heavy_barrier();  // pairs with the signal fence in section()
  const auto used = std::min(detail::records_used.load(std::memory_order_acquire), detail::record_count);
  for (std::size_t i = 0; i < used; ++i) {
    reader& record = detail::records[i];
    backoff patience;
    for (;;) {
      const auto since = record.since.load(std::memory_order_acquire);
      if (since == 0 || since >= target) break;
      if (patience.long_since()) detail::reclaim_if_dead(record);
      patience.wait();
    }
  }
  backoff patience;
  while (detail::unrecorded.load(std::memory_order_acquire) != 0) patience.wait();
  completed.fetch_add(1, std::memory_order_relaxed);
}

bool try_synchronize() noexcept {
  const auto target = detail::current.fetch_add(1, std::memory_order_seq_cst) + 1;
  os::heavy_barrier();  // as above
  const auto used = std::min(detail::records_used.load(std::memory_order_acquire), detail::record_count);
  const bool quiet = std::all_of(std::begin(detail::records),
                                 std::begin(detail::records) + static_cast<std::ptrdiff_t>(used),
                                 [target](const reader& record) {
                                   const auto since = record.since.load(std::memory_order_acquire);
                                   return since == 0 || since >= target;
                                 });
  return quiet && detail::unrecorded.load(std::memory_order_acquire) == 0;
}

void after_fork_in_child() noexcept {
  os::prepare_barriers();
  const auto used = std::min(detail::records_used.load(), detail::record_count);
  // libc's fork comes here in the thread that forked. Whoever comes after another kind of fork may be a
  // thread that was made since, and does not know which of the records is in use by the one that forked.
  const int others = os::thread_id() == os::process_id() ? 0 : os::process_id();
  for (std::size_t i = 0; i < used; ++i) {
    reader& record = detail::records[i];
    if (&record == detail::self) {
      record.owner.store(os::thread_id());
    } else {
      record.since.store(0);
      record.where.store(0);
      record.owner.store(record.owner != 0 ? others : 0);
    }
  }
  detail::unrecorded.store(detail::unrecorded_here);
}

std::uint64_t grace_periods() noexcept { return completed.load(std::memory_order_relaxed); }

std::size_t records_in_use() noexcept {
  const auto used = std::min(detail::records_used.load(), detail::record_count);
  return static_cast<std::size_t>(std::count_if(
      std::begin(detail::records), std::begin(detail::records) + static_cast<std::ptrdiff_t>(used),
      [](const reader& r) { return r.owner.load() > 0; }));
}

}  // namespace libprobe::epoch
