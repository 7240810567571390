// The writer's side: pays for the barriers that readers do without, and waits.
#include <algorithm>

#include "epoch/backoff.hpp"
#include "epoch/records.hpp"
#include "epoch/stall.hpp"
#include "os/barrier.hpp"
#include "os/signals.hpp"

namespace libprobe::epoch {

namespace {

atomic<ticket> newest_complete{0};
atomic<std::uint64_t> waits{0};

/// Sections of threads that have no record are only counted. So that those which open later do not hold a
/// ticket up, they count in two phases: a drain waits until the one before is empty, turns to it, and waits
/// for the other one. (As SRCU in the Linux kernel.) One drain at a time, whoever moves it on.
struct {
  atomic<bool> busy{false};
  bool turned = false;
  ticket turned_at = 0;      // the newest ticket at that moment
  atomic<ticket> newest{0};  // the newest that a drain has covered
} drain;

bool is_empty(std::uint32_t phase) noexcept {
  // Pairs with leave(): acquired, what those sections did comes before the free. In one order with enter():
  // a section that is not seen here sees all that was unlinked.
  return detail::unrecorded[phase & 1].load(std::memory_order_seq_cst) == 0;
}

/// A step of the drain, and all that it then needs no waiting for.
bool move_drain_on(ticket when) noexcept {
  while (drain.newest.load(std::memory_order_relaxed) < when) {
    const auto phase = detail::phase.load(std::memory_order_relaxed);
    if (!drain.turned) {
      if (!is_empty(phase + 1))
        return false;  // who read the phase before the last turn, and counted after it
      drain.turned_at = detail::current.load(std::memory_order_seq_cst);
      detail::phase.store(phase + 1, std::memory_order_seq_cst);
      drain.turned = true;
    } else {
      if (!is_empty(phase + 1)) return false;
      drain.turned = false;
      drain.newest.store(drain.turned_at, std::memory_order_release);
    }
  }
  return true;
}

/// No section that was counted before the ticket was taken is open.
bool drained(ticket when) noexcept {
  if (is_empty(0) && is_empty(1)) return true;  // whatever phase such a section was counted in
  if (drain.newest.load(std::memory_order_acquire) >= when) return true;
  if (drain.busy.exchange(true, std::memory_order_acquire)) return false;  // somebody is at it
  const bool answer = move_drain_on(when);
  drain.busy.store(false, std::memory_order_release);
  return answer;
}

bool holds_up(const reader& record, ticket when) noexcept {
  const auto since = record.since.load(std::memory_order_acquire);  // pairs with leave()
  return since != 0 && since < when;
}

void complete(ticket when) noexcept {
  auto known = newest_complete.load(std::memory_order_relaxed);
  while (known < when && !newest_complete.compare_exchange_weak(known, when, std::memory_order_acq_rel)) {
  }
}

/// After a heavy_barrier() since the ticket was taken.
bool is_quiet(ticket when) noexcept {
  return std::ranges::none_of(detail::used_records(),
                              [when](const reader& record) { return holds_up(record, when); }) &&
         drained(when);
}

}  // namespace

void prepare() noexcept {
  os::prepare_barriers();
  // While `readers_pay` is true readers need nobody's help; it may go false as soon as heavy_barrier() works.
  detail::readers_pay.store(!os::barriers_are_asymmetric(), std::memory_order_seq_cst);
}

bool is_complete(ticket when) noexcept {
  return newest_complete.load(std::memory_order_acquire) >= when;  // pairs with complete()
}

ticket take_ticket() noexcept {
  // Released: a reader that finds this epoch finds what was unlinked before it, too; pairs with enter().
  return detail::current.fetch_add(1, std::memory_order_seq_cst) + 1;
}

bool poll(ticket when) noexcept {
  if (is_complete(when)) return true;
  os::heavy_barrier();  // pairs with the signal fence in enter()
  if (!is_quiet(when)) return false;
  complete(when);
  return true;
}

void wait(ticket when) noexcept {
  if (!is_complete(when)) {
    os::heavy_barrier();  // pairs with the signal fence in enter(): sections that begin after it are not
                          // waited for
    stall_watch told;
    for (auto& record : detail::used_records()) {
      for (backoff patience; holds_up(record, when); patience.wait()) {
        if (!patience.long_since()) continue;
        detail::reclaim_if_dead(record);
        told.look(thread_of(record.owner.load(std::memory_order_relaxed)));
      }
    }
    for (backoff patience; !drained(when); patience.wait()) {
      if (patience.long_since()) told.look(0);
    }
    complete(when);
  }
  waits.fetch_add(1, std::memory_order_relaxed);
}

void after_fork_in_child() noexcept {
  os::prepare_barriers();
  // libc's fork comes here in the thread that forked. Whoever comes after another kind of fork may be a
  // thread that was made since, and does not know which of the records is in use by the one that forked.
  const int others = os::thread_id() == os::process_id() ? 0 : os::process_id();
  for (auto& record : detail::used_records()) {
    const auto owner = record.owner.load();
    if (&record == detail::self) {
      record.owner.store(detail::handed_on(owner, os::thread_id()));
    } else {
      record.since.store(0);
      record.where.store(0);
      record.owner.store(detail::handed_on(owner, thread_of(owner) != 0 ? others : 0));
    }
  }
  for (int phase = 0; phase < 2; ++phase) detail::unrecorded[phase].store(detail::unrecorded_here[phase]);
  drain.busy.store(false);
}

std::uint64_t grace_periods() noexcept { return waits.load(std::memory_order_relaxed); }

std::size_t records_in_use() noexcept {
  return static_cast<std::size_t>(std::ranges::count_if(
      detail::used_records(), [](const reader& r) { return thread_of(r.owner.load()) > 0; }));
}

}  // namespace libprobe::epoch
