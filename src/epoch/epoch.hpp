// Reader sections and grace periods: what a hit has found stays until it is done. Knows not what it protects,
// but for the messages in stall.cpp. arch's assembly does as enter() and leave() do (direct_call.S): who
// changes these changes that.
//
// Floor: on os and arch. Words: a *section* is the time in which a reader, a thread that opens it, may hold
// what it has found; the *epoch* a number that each ticket moves on; a *grace period* begins with a ticket,
// and is over when no section is open that was when the ticket was taken; a *ticket* stands for the grace
// period that covers all that was unlinked before it; *complete*, somebody has found its grace period over;
// a *record* (struct reader), where a thread notes since when its outermost section is open: threads without
// one (guests, and more than 16384 at once) are only counted; *retired*, unlinked and waiting.
//
// Guarantees, in the manner of liburcu:
//  1. What a reader finds inside a section stays until the section ends, provided the writer unlinked it,
//  took
//     a ticket after that, and frees it when the ticket is complete. A section ends when it is left; by
//     leave_all(); with its thread, if that has a record (wait() looks, poll() does not); or when a later hit
//     of the thread finds that it was jumped out of.
//  2. Entering and leaving never block, allocate, or call libc; they are safe in any signal handler, from a
//     thread's first instruction on, and they nest.
//  3. A ticket is complete after every section that was open when it was taken has ended. Sections opened
//     later do not hold it up. Tickets complete in the order of their numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/atomic.hpp"

namespace libprobe::epoch {

/// One thread's record. Its own line, so that readers never share one.
struct alignas(64) reader {
  atomic<std::uint64_t> since{0};  // the epoch at which its outermost section began; 0: outside
  // Low half: the thread's number, 0: free, -1: being reclaimed. High half: how often it has changed hands,
  // so that nobody takes a new owner for the dead one that had the same number.
  atomic<std::uint64_t> owner{0};
  // Where on the stack the outermost section is; 0: not known. Means something only while `since` is not 0.
  atomic<std::uintptr_t> where{0};
};

constexpr int thread_of(std::uint64_t owner) noexcept { return static_cast<int>(owner); }

namespace detail {
extern constinit atomic<std::uint64_t> current;
// Open sections of threads that have no record, by the phase in which they began: see grace_period.cpp.
extern constinit atomic<std::uint64_t> unrecorded[2];
extern constinit atomic<std::uint32_t> phase;
extern __thread std::uint64_t unrecorded_here[2]
    __attribute__((tls_model("initial-exec")));  // those of this thread
extern constinit atomic<bool> readers_pay;       // no asymmetric barrier: full barriers on entry
extern __thread reader* self __attribute__((tls_model("initial-exec")));
reader* claim() noexcept;
int thread_number_unrecorded() noexcept;
bool was_left_behind(const reader& record, std::uintptr_t used_to) noexcept;
}  // namespace detail

/// What leave() needs to know from enter(). It lies on the stack as long as the section is open.
struct token {
  reader* record;
  std::uint64_t outer;         // what `since` was; of one without a record: its phase
  std::uintptr_t outer_where;  // what `where` was
  std::uintptr_t mark;         // its own address, inverted: what is overwritten is a section no more
  bool renewed = false;        // the thread had left its sections behind: what they protected is over

  [[nodiscard]] std::uintptr_t place() const noexcept { return reinterpret_cast<std::uintptr_t>(&mark); }
};

/// Opens a section, which stays at its place in memory. Signal-safe.
///
/// A hit tells how far down the program's stack was used before it (its stack pointer), and so finds whether
/// the thread has left sections behind, by siglongjmp out of a handler for one. 0: not asked.
[[gnu::always_inline]] inline void enter(token& mine, std::uintptr_t used_to = 0) noexcept {
  reader* record = detail::self;
  if (record == nullptr) [[unlikely]]
    record = detail::claim();
  mine.record = record;
  if (record == nullptr) [[unlikely]] {
    const auto phase = detail::phase.load(std::memory_order_relaxed) & 1;
    mine.outer = phase;
    ++detail::unrecorded_here[phase];
    // Pairs with the loads in drained(), in grace_period.cpp: either they see this section, or it sees what
    // was unlinked before them.
    detail::unrecorded[phase].fetch_add(1, std::memory_order_seq_cst);
    if (detail::readers_pay.load(std::memory_order_relaxed))
      thread_fence(std::memory_order_seq_cst);  // the addition alone does not hold later loads back
    return;
  }
  // A signal handler may open and close sections between any two of these lines: it leaves `since` and
  // `where` as it found them, and a stale epoch only makes a grace period wait for this section, too.
  auto outer = record->since.load(std::memory_order_relaxed);
  if (outer != 0 && used_to != 0 && detail::was_left_behind(*record, used_to)) [[unlikely]] {
    outer = 0;
    mine.renewed = true;
  }
  mine.outer = outer;
  if (outer == 0) [[likely]] {
    *static_cast<volatile std::uintptr_t*>(&mine.mark) = ~mine.place();
    mine.outer_where = record->where.load(std::memory_order_relaxed);
    record->where.store(mine.place(), std::memory_order_relaxed);
    signal_fence(std::memory_order_seq_cst);  // `where` first: whoever sees a section knows its place
    // Acquired: a section of the new epoch sees what was unlinked before that began; pairs with
    // take_ticket(). Released: a grace period may find this section only, and must have seen the end of the
    // one before it; pairs with the loads in is_quiet().
    record->since.store(detail::current.load(std::memory_order_acquire), std::memory_order_release);
    if (detail::readers_pay.load(std::memory_order_relaxed)) [[unlikely]]
      thread_fence(std::memory_order_seq_cst);
    // Pairs with heavy_barrier() in poll(): either it sees `since`, or this section sees what was unlinked.
    signal_fence(std::memory_order_seq_cst);
  }
}

/// Closes it, in reverse order of opening. Signal-safe.
[[gnu::always_inline]] inline void leave(const token& mine) noexcept {
  if (mine.record == nullptr) [[unlikely]] {
    detail::unrecorded[mine.outer].fetch_sub(1, std::memory_order_release);  // pairs with drained()
    --detail::unrecorded_here[mine.outer];
  } else if (mine.outer == 0) {
    // Pairs with the acquire loads in is_quiet(): all that the section did comes before the free.
    mine.record->since.store(0, std::memory_order_release);
    signal_fence(std::memory_order_seq_cst);  // in this order, for signal handlers
    mine.record->where.store(mine.outer_where, std::memory_order_relaxed);
  }
}

/// The calling thread's sections are over: its stack is being unwound for good, or has been left.
[[gnu::always_inline]] inline void leave_all() noexcept {
  if (detail::self != nullptr) {
    detail::self->since.store(0, std::memory_order_release);
    return;
  }
  for (int phase = 0; phase < 2; ++phase) {
    detail::unrecorded[phase].fetch_sub(detail::unrecorded_here[phase], std::memory_order_release);
    detail::unrecorded_here[phase] = 0;
  }
}

/// Where the calling thread's outermost section lies; 0: it has none open, or that is not known.
[[gnu::always_inline]] inline std::uintptr_t open_at() noexcept {
  const reader* record = detail::self;
  if (record == nullptr || record->since.load(std::memory_order_relaxed) == 0) return 0;
  return record->where.load(std::memory_order_relaxed);
}

/// An open section, for as long as it lives. Signal-safe.
class section {
 public:
  [[gnu::always_inline]] explicit section(std::uintptr_t used_to = 0) noexcept { enter(mine_, used_to); }
  [[gnu::always_inline]] ~section() { leave(mine_); }
  section(const section&) = delete;
  section& operator=(const section&) = delete;
  [[nodiscard]] bool renewed() const noexcept { return mine_.renewed; }

 private:
  token mine_;
};

/// The number of the calling thread, inside a section: without a system call where the thread has a record.
/// That of a thread which shares this memory from another process is its process's home, which outlives it.
inline int thread_number() noexcept {
  return detail::self != nullptr ? thread_of(detail::self->owner.load(std::memory_order_relaxed))
                                 : detail::thread_number_unrecorded();
}
/// True if the calling thread has a record, so that its number is its own.
inline bool has_record() noexcept { return detail::self != nullptr; }

/// Of a table with a row for each thread: where the calling thread's own begins; 0: it has none, since it was
/// never in a section, or there are too many threads. The first row is nobody's.
inline constexpr std::size_t row_bytes = 4096;
extern __thread std::uint64_t row_of_thread __attribute__((tls_model("initial-exec")));
/// How many rows there can be, and how many have ever been in use.
std::size_t most_rows() noexcept;
std::size_t rows() noexcept;

/// Prepares the process; before the first ticket. Idempotent.
void prepare() noexcept;

/// The number of a grace period, as in the polled grace periods of liburcu and the Linux kernel.
using ticket = std::uint64_t;

/// That which covers all that was unlinked before the call. Any thread; never blocks.
ticket take_ticket() noexcept;

/// True if somebody has found it complete. Any thread; never blocks, and looks at nothing but that.
bool is_complete(ticket when) noexcept;

/// Looks once. True: it is complete. False: some section is open that was so before, perhaps the caller's
/// own. Any thread; never blocks.
bool poll(ticket when) noexcept;

/// Polls until it is complete, and after some seconds says on standard error, once, for which thread it
/// waits. Blocks; must not be called inside a section. Any number of threads may wait at once.
void wait(ticket when) noexcept;

/// One grace period. As wait().
inline void synchronize() noexcept { wait(take_ticket()); }

/// How long wait() waits without a word.
void set_patience(unsigned seconds) noexcept;

/// In a forked child, once the process has settled: only the calling thread is left.
void after_fork_in_child() noexcept;

/// True if sections may be opened without a barrier of their own; after prepare().
inline bool barriers_are_asymmetric() noexcept {
  return !detail::readers_pay.load(std::memory_order_relaxed);
}

/// How many grace periods there have been, and how many records are in use: for tests and benchmarks.
std::uint64_t grace_periods() noexcept;
std::size_t records_in_use() noexcept;

}  // namespace libprobe::epoch
