// A thread's first section, in whatever signal context it comes. Part of the hit path.
#include <asm/unistd.h>
#include <signal.h>

#include "arch/arch.hpp"
#include "epoch/records.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"

namespace libprobe::epoch::detail {

constinit std::atomic<std::uint64_t> current{1};
constinit std::atomic<std::uint64_t> unrecorded{0};
constinit std::atomic<bool> readers_pay{true};
constinit reader records[record_count]{};
constinit std::atomic<std::size_t> records_used{0};
__thread std::uint64_t unrecorded_here __attribute__((tls_model("initial-exec"))) = 0;
__thread reader* self __attribute__((tls_model("initial-exec"))) = nullptr;

void reclaim_if_dead(reader& record) noexcept {
  int owner = record.owner.load(std::memory_order_acquire);
  if (owner <= 0 || os::thread_exists(owner)) return;
  // Claimed as nobody's first, so that no new owner is disturbed by the store to `since`.
  if (!record.owner.compare_exchange_strong(owner, -1, std::memory_order_acq_rel)) return;
  record.where.store(0, std::memory_order_relaxed);
  record.since.store(0, std::memory_order_release);
  record.owner.store(0, std::memory_order_release);
}

namespace {

/// The interrupted stack may lie anywhere then, right below it too.
bool on_alternate_stack(std::uintptr_t place) noexcept {
  stack_t alternate{};
  if (arch::system_call(__NR_sigaltstack, 0, reinterpret_cast<long>(&alternate)) != 0) return true;
  return place - reinterpret_cast<std::uintptr_t>(alternate.ss_sp) < alternate.ss_size;
}

}  // namespace

/// Sure in one direction only: what says so is over. (The same thread may be on another stack.)
bool was_left_behind(const reader& record, std::uintptr_t place, std::uintptr_t used_to) noexcept {
  const auto where = record.where.load(std::memory_order_relaxed);
  if (where == 0) return false;
  if (where == place || (where > place && where < used_to)) return true;
  constexpr std::uintptr_t just_below = 4096;
  if (where < place && place - where < just_below && !on_alternate_stack(place)) return true;
  std::uint64_t mark = 0;
  return !arch::guarded_load(where, mark) || mark != ~where;
}

namespace {

bool take(reader& record, int thread) noexcept {
  int nobody = 0;
  return record.owner.load(std::memory_order_relaxed) == 0 &&
         record.owner.compare_exchange_strong(nobody, thread, std::memory_order_acq_rel);
}

reader* find_record(int thread) noexcept {
  const auto used = records_used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < used; ++i) {
    reader& record = records[i];
    // A record that bears this thread's number belonged to a dead one: numbers are unique among the living.
    if (record.owner.load(std::memory_order_relaxed) == thread) {
      record.where.store(0, std::memory_order_relaxed);
      record.since.store(0, std::memory_order_release);
      return &record;
    }
    if (take(record, thread)) return &record;
  }
  // Before taking new memory look whether some of the old records belong to threads that have ended.
  constexpr std::size_t worth_a_look = 32;
  if (used >= worth_a_look) {
    static constinit std::atomic<std::size_t> cursor{0};
    for (std::size_t i = 0; i < 8; ++i) {
      reader& record = records[cursor.fetch_add(1, std::memory_order_relaxed) % used];
      reclaim_if_dead(record);
      if (take(record, thread)) return &record;
    }
  }
  for (;;) {
    const auto next = records_used.fetch_add(1, std::memory_order_acq_rel);
    if (next >= record_count) {
      records_used.store(record_count, std::memory_order_release);
      return nullptr;
    }
    if (take(records[next], thread)) return &records[next];
  }
}

}  // namespace

int thread_number_unrecorded() noexcept { return os::is_guest() ? os::home_process() : os::thread_id(); }

reader* claim() noexcept {
  // A guest's thread may run on the thread-local memory of one of ours (vfork), which would take over a
  // record with the guest's number; and would seem to have ended as soon as the guest has.
  if (os::is_guest()) return nullptr;
  reader* mine = find_record(os::thread_id());
  // A signal handler that came in between may have claimed one already: keep the first.
  if (self != nullptr) {
    if (mine != nullptr && mine != self) mine->owner.store(0, std::memory_order_release);
    return self;
  }
  row_of_thread = mine == nullptr ? 0 : (static_cast<std::size_t>(mine - records) + 1) * row_bytes;
  std::atomic_signal_fence(std::memory_order_seq_cst);  // who has a record has a row
  self = mine;
  return mine;
}

}  // namespace libprobe::epoch::detail

namespace libprobe::epoch {

__thread std::uint64_t row_of_thread __attribute__((tls_model("initial-exec"))) = 0;

std::size_t most_rows() noexcept { return detail::record_count + 1; }

std::size_t rows() noexcept {
  const auto used = detail::records_used.load(std::memory_order_acquire) + 1;
  return used < most_rows() ? used : most_rows();
}

}  // namespace libprobe::epoch
