// Whose calls a fixture looks at, and what keeps fixtures from looking at each other.
#pragma once

#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>

namespace libprobe {

class thread_group;

namespace detail {

struct state_of_thread {
  pid_t id;                   // 0: not asked for yet
  unsigned unwatched;         // > 0: this thread does a fixture's own work
  const thread_group* group;  // null: in none
};
// Initial-exec: the first access must not allocate, it may be malloc that is watched.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local state_of_thread thread_state{};

/// The kernel's id of the calling thread, as gdb and /proc show it. Signal-safe.
inline pid_t this_thread_id() noexcept {
  if (thread_state.id == 0) thread_state.id = static_cast<pid_t>(::syscall(SYS_gettid));
  return thread_state.id;
}

}  // namespace detail

/// While it lives no fixture sees what this thread calls. Fixtures do their own work so: a spy on malloc may
/// allocate. A stub's callable may do the same for its bookkeeping. Keeps errno.
class unwatched {
 public:
  unwatched() noexcept : errno_{errno} { ++detail::thread_state.unwatched; }
  ~unwatched() {
    --detail::thread_state.unwatched;
    errno = errno_;
  }
  unwatched(const unwatched&) = delete;
  unwatched& operator=(const unwatched&) = delete;

 private:
  int errno_;
};

namespace detail {

/// For a few instructions at a time, by unwatched threads only: then a signal handler that comes between
/// never wants it, and no watched lock is involved.
class spin_lock {
 public:
  void lock() noexcept {
    while (held_.exchange(true, std::memory_order_acquire)) ::sched_yield();
  }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> held_{false};
};

/// Memory that does not come from malloc, which may be busy in the very call that is being recorded.
template <class T>
struct page_allocator {
  using value_type = T;
  page_allocator() = default;
  template <class U>
  page_allocator(const page_allocator<U>& /*unused*/) noexcept {}  // NOLINT(google-explicit-constructor)
  T* allocate(std::size_t n) {
    void* const pages =
        ::mmap(nullptr, n * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc{};
    return static_cast<T*>(pages);
  }
  void deallocate(T* pages, std::size_t n) noexcept { ::munmap(pages, n * sizeof(T)); }
  friend bool operator==(const page_allocator& /*unused*/, const page_allocator& /*unused*/) { return true; }
};

}  // namespace detail

/// Threads that belong together: those of one test, when several tests run in one process. A thread is in one
/// group at a time. Must outlive its members and the fixtures that look at it.
class thread_group {
 public:
  thread_group() = default;
  thread_group(const thread_group&) = delete;
  thread_group& operator=(const thread_group&) = delete;

  class [[nodiscard]] membership {
   public:
    explicit membership(const thread_group& group) noexcept : before_{detail::thread_state.group} {
      detail::thread_state.group = &group;
    }
    ~membership() { detail::thread_state.group = before_; }
    membership(const membership&) = delete;
    membership& operator=(const membership&) = delete;

   private:
    const thread_group* before_;
  };
  /// The calling thread belongs to the group until what is returned goes.
  membership join() const noexcept { return membership{*this}; }
};

/// Says that a fixture looks at calls of every thread, or of the one that makes the fixture.
struct all_threads_type {};
struct this_thread_type {};
inline constexpr all_threads_type all_threads{};
inline constexpr this_thread_type this_thread{};

/// Whose calls a fixture looks at: `all_threads`, `this_thread` or a thread_group.
class thread_scope {
 public:
  thread_scope(all_threads_type /*unused*/ = {}) noexcept {}  // NOLINT(google-explicit-constructor)
  thread_scope(this_thread_type /*unused*/) noexcept          // NOLINT(google-explicit-constructor)
      : thread_{detail::this_thread_id()} {}
  thread_scope(const thread_group& group) noexcept : group_{&group} {}  // NOLINT(google-explicit-constructor)

  /// Whether the calling thread is meant. Signal-safe.
  [[nodiscard]] bool holds() const noexcept {
    if (group_ != nullptr) return detail::thread_state.group == group_;
    return thread_ == 0 || thread_ == detail::this_thread_id();
  }

 private:
  pid_t thread_ = 0;
  const thread_group* group_ = nullptr;
};

}  // namespace libprobe
