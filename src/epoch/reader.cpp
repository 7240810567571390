// A thread's first section, in whatever signal context it comes. Part of the hit path.
#include "arch/machine.hpp"
#include "arch/trap.hpp"
#include "epoch/records.hpp"
#include "os/process.hpp"
#include "os/signal_stack.hpp"
#include "os/signals.hpp"

namespace libprobe::epoch::detail {

constinit atomic<std::uint64_t> current{1};
constinit atomic<std::uint64_t> unrecorded[2]{};
constinit atomic<std::uint32_t> phase{0};
constinit atomic<bool> readers_pay{true};
constinit reader records[record_count]{};
constinit atomic<std::size_t> records_used{0};
__thread std::uint64_t unrecorded_here[2] __attribute__((tls_model("initial-exec"))) = {};
__thread reader* self __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

/// The caller alone has it.
void clear(reader& record) noexcept {
  record.where.store(0, std::memory_order_relaxed);
  record.since.store(0, std::memory_order_release);
}

/// Nobody else changes it from here on, if it is still as it was seen.
bool take_over(reader& record, std::uint64_t seen, int thread) noexcept {
  return record.owner.compare_exchange_strong(seen, handed_on(seen, thread), std::memory_order_acq_rel);
}

void release(reader& record) noexcept {
  const auto owner = record.owner.load(std::memory_order_relaxed);
  record.owner.store(handed_on(owner, 0), std::memory_order_release);
}

}  // namespace

void reclaim_if_dead(reader& record) noexcept {
  const auto owner = record.owner.load(std::memory_order_acquire);
  if (thread_of(owner) <= 0 || os::thread_exists(thread_of(owner))) return;
  // The number may be in use again by now, and its new owner have taken the record over: then the word
  // differs. Claimed as nobody's first, so that no new owner is disturbed by the store to `since`.
  if (!take_over(record, owner, -1)) return;
  clear(record);
  release(record);
}

/// A handler does not switch away from its stack and come back (docs/robustness.md). So a hit inside of it
/// comes from further down the same stack, or from a signal's handler on the alternate one. Any other hit
/// proves that it was left; and so does another word where its mark was.
bool was_left_behind(const reader& record, std::uintptr_t used_to) noexcept {
  const auto where = record.where.load(std::memory_order_relaxed);
  if (where == 0) return false;
  if (where < used_to && (!os::on_signal_stack(used_to) || os::on_signal_stack(where))) return true;
  if (where % 2 != 0) return false;  // a direct call's, which leaves no mark
  std::uint64_t mark = 0;
  return !arch::guarded_load(where, mark) || mark != ~where;
}

namespace {

bool take_free(reader& record, int thread) noexcept {
  const auto owner = record.owner.load(std::memory_order_relaxed);
  return thread_of(owner) == 0 && take_over(record, owner, thread);
}

/// Numbers are unique among the living, so what bears this thread's belonged to a dead one: that is one
/// record for this thread, and others are free. Null: there is none.
reader* of_dead_namesake(int thread) noexcept {
  reader* mine = nullptr;
  for (auto& record : used_records()) {
    const auto owner = record.owner.load(std::memory_order_acquire);
    if (thread_of(owner) != thread || !take_over(record, owner, thread)) continue;
    clear(record);
    if (mine == nullptr) {
      mine = &record;
    } else {
      release(record);
    }
  }
  return mine;
}

reader* find_record(int thread) noexcept {
  if (auto* const inherited = of_dead_namesake(thread)) return inherited;
  const auto used = used_records();
  for (auto& record : used) {
    if (take_free(record, thread)) return &record;
  }
  // Before taking new memory look whether some of the old records belong to threads that have ended.
  if (used.size() >= worth_a_look) {
    static constinit atomic<std::size_t> cursor{0};
    for (std::size_t i = 0; i < looks; ++i) {
      reader& record = used[cursor.fetch_add(1, std::memory_order_relaxed) % used.size()];
      reclaim_if_dead(record);
      if (take_free(record, thread)) return &record;
    }
  }
  if (used.size() == record_count) return nullptr;
  for (;;) {
    const auto next = records_used.fetch_add(1, std::memory_order_acq_rel);
    if (next >= record_count) {
      records_used.store(record_count, std::memory_order_release);
      return nullptr;
    }
    if (take_free(records[next], thread)) return &records[next];
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
    if (mine != nullptr && mine != self) release(*mine);
    return self;
  }
  row_of_thread = mine == nullptr ? 0 : (static_cast<std::size_t>(mine - records) + 1) * row_bytes;
  signal_fence(std::memory_order_seq_cst);  // who has a record has a row
  self = mine;
  return mine;
}

}  // namespace libprobe::epoch::detail

namespace libprobe::epoch {

__thread std::uint64_t row_of_thread __attribute__((tls_model("initial-exec"))) = 0;

std::size_t most_rows() noexcept { return detail::record_count + 1; }

std::size_t rows() noexcept { return detail::used_records().size() + 1; }

}  // namespace libprobe::epoch
