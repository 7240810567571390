// Reader sections and grace periods. Knows not what it protects.
//
// Guarantees, in the manner of liburcu:
//  1. What a reader finds inside a section stays until it leaves, provided the writer unlinked it before
//     synchronize() and frees it after.
//  2. Entering and leaving never block, allocate, or call libc; they are safe in any signal handler, from a
//     thread's first instruction on, and they nest.
//  3. synchronize() returns after every section that was open when it was called has been left. Sections
//  opened later
//     do not hold it up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace libprobe::epoch {

/// One thread's record. Its own line, so that readers never share one.
struct alignas(64) reader {
  std::atomic<std::uint64_t> since{0};  // the epoch at which its outermost section began; 0: outside
  std::atomic<int> owner{0};            // thread id; 0: free
  // Where on the stack the outermost section is; 0: not known at this moment.
  std::atomic<std::uintptr_t> where{0};
};

namespace detail {
extern constinit std::atomic<std::uint64_t> current;
extern constinit std::atomic<std::uint64_t> unrecorded;  // sections of threads that found no free record
extern __thread std::uint64_t unrecorded_here
    __attribute__((tls_model("initial-exec")));  // those of this thread
extern constinit std::atomic<bool> readers_pay;  // no asymmetric barrier: full barriers on entry
extern __thread reader* self __attribute__((tls_model("initial-exec")));
reader* claim() noexcept;
int thread_number_unrecorded() noexcept;
bool was_left_behind(const reader& record, std::uintptr_t place, std::uintptr_t used_to) noexcept;
}  // namespace detail

/// What leave() needs to know from enter(). It lies on the stack as long as the section is open.
struct token {
  reader* record;
  std::uint64_t outer;
  std::uintptr_t mark;   // its own address, inverted: what is overwritten is a section no more
  bool renewed = false;  // the thread had left its sections behind: what they protected is over

  [[nodiscard]] std::uintptr_t place() const noexcept { return reinterpret_cast<std::uintptr_t>(&mark); }
};

/// Opens a section, which stays at its place in memory. Signal-safe.
///
/// A thread may leave its sections behind (siglongjmp out of a signal handler): those that are overwritten,
/// or lie where the stack is the caller's at this moment: up to `used_to`, or just below. 0: it does not
/// know.
inline void enter(token& mine, std::uintptr_t used_to = 0) noexcept {
  reader* record = detail::self;
  if (record == nullptr) [[unlikely]]
    record = detail::claim();
  mine.record = record;
  if (record == nullptr) [[unlikely]] {
    ++detail::unrecorded_here;
    detail::unrecorded.fetch_add(1, std::memory_order_seq_cst);
    return;
  }
  // A signal handler may open and close sections between these two lines: it restores what it found, and a
  // stale epoch only makes a grace period wait for this section, too.
  auto outer = record->since.load(std::memory_order_relaxed);
  if (outer != 0 && used_to != 0 && detail::was_left_behind(*record, mine.place(), used_to)) [[unlikely]] {
    outer = 0;
    mine.renewed = true;
  }
  mine.outer = outer;
  if (outer == 0) [[likely]] {
    *static_cast<volatile std::uintptr_t*>(&mine.mark) = ~mine.place();
    record->where.store(mine.place(), std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    // Released: a grace period may find this section only, and must have seen the end of the one before it.
    record->since.store(detail::current.load(std::memory_order_relaxed), std::memory_order_release);
    if (detail::readers_pay.load(std::memory_order_relaxed)) [[unlikely]]
      std::atomic_thread_fence(std::memory_order_seq_cst);
    // Pairs with heavy_barrier() in synchronize(): either it sees `since`, or this section sees what was
    // unlinked.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    record->where.store(mine.place(), std::memory_order_relaxed);  // a signal may have come in between
  }
}

/// Closes it, in reverse order of opening. Signal-safe.
inline void leave(const token& mine) noexcept {
  if (mine.record == nullptr) [[unlikely]] {
    detail::unrecorded.fetch_sub(1, std::memory_order_release);
    --detail::unrecorded_here;
  } else if (mine.outer == 0) {
    // Pairs with the acquire loads in synchronize(): all that the section did comes before the free.
    mine.record->since.store(0, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // in this order, for signal handlers
    mine.record->where.store(0, std::memory_order_relaxed);
  }
}

/// The calling thread's stack is being unwound for good: all of its sections are over.
inline void leave_all() noexcept {
  if (detail::self != nullptr) {
    detail::self->since.store(0, std::memory_order_release);
    detail::self->where.store(0, std::memory_order_relaxed);
  } else {
    detail::unrecorded.fetch_sub(detail::unrecorded_here, std::memory_order_release);
    detail::unrecorded_here = 0;
  }
}

/// An open section, for as long as it lives. Signal-safe.
class section {
 public:
  explicit section(std::uintptr_t used_to = 0) noexcept { enter(mine_, used_to); }
  ~section() { leave(mine_); }
  section(const section&) = delete;
  section& operator=(const section&) = delete;
  [[nodiscard]] bool renewed() const noexcept { return mine_.renewed; }

 private:
  token mine_;
};

/// The number of the calling thread, inside a section: without a system call where the thread has a record.
/// That of a thread which shares this memory from another process is its process's home, which outlives it.
inline int thread_number() noexcept {
  return detail::self != nullptr ? detail::self->owner.load(std::memory_order_relaxed)
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

/// Prepares the process; before the first synchronize(). Idempotent.
void prepare() noexcept;

/// One grace period: see guarantee 3. Blocks; must not be called inside a section. Any number of threads may
/// wait at once.
void synchronize() noexcept;

/// The same without waiting. False: some section is open that was so before, perhaps the caller's own.
bool try_synchronize() noexcept;

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
