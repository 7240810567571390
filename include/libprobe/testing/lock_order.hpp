// That locks are taken in one order: an inversion is found the first time, even if nothing deadlocks.
#pragma once

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/stub.hpp>
#include <libprobe/testing/thread.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace libprobe {

namespace detail {

/// Which lock was taken while which other was held, and by whom first. Its functions are called by unwatched
/// threads, in the middle of the program's lock calls: no watched lock, no malloc.
class lock_graph {
 public:
  struct taking {
    pid_t thread = 0;
    call_stack from;
  };
  struct inversion {
    const void* held;
    const void* wanted;
    taking now;
    const void* before_held;  // the first step of the way back from `wanted` to `held`
    const void* before_wanted;
    taking before;
  };

  [[nodiscard]] bool holding() {
    const std::lock_guard guard{busy_};
    return !held_by_me().empty();
  }
  /// Before a lock is waited for, by a thread that holds one.
  void want(const void* lock, const call_stack& from) {
    const std::lock_guard guard{busy_};
    const auto& mine = held_by_me();
    const taking now{this_thread_id(), from};
    if (std::find(mine.begin(), mine.end(), lock) != mine.end()) return;  // a recursive one
    for (const void* held : mine) {
      if (known(held, lock)) continue;
      if (const edge* back = way(lock, held); back != nullptr)
        inversions_.push_back({held, lock, now, back->from, back->to, back->first});
      edges_.push_back({held, lock, now, false});
    }
  }
  void have(const void* lock) {
    const std::lock_guard guard{busy_};
    held_by_me().push_back(lock);
  }
  void give_back(const void* lock) {
    const std::lock_guard guard{busy_};
    auto& mine = held_by_me();
    const auto last = std::find(mine.rbegin(), mine.rend(), lock);
    if (last != mine.rend()) mine.erase(std::next(last).base());
  }
  /// The lock has gone; another one may come to lie at its address.
  void forget(const void* lock) {
    const std::lock_guard guard{busy_};
    std::erase_if(edges_, [&](const edge& e) { return e.from == lock || e.to == lock; });
  }
  [[nodiscard]] std::vector<inversion> inversions() const {
    const std::lock_guard guard{busy_};
    return {inversions_.begin(), inversions_.end()};
  }

 private:
  template <class T>
  using list = std::vector<T, page_allocator<T>>;
  struct edge {
    const void* from;
    const void* to;
    taking first;
    bool seen;
  };
  struct holder {
    pid_t thread;
    list<const void*> locks;
  };

  list<const void*>& held_by_me() {
    const pid_t me = this_thread_id();
    for (auto& h : holders_) {
      if (h.thread == me) return h.locks;
    }
    // A thread that has ended with nothing held leaves its place to the next.
    for (auto& h : holders_) {
      if (!h.locks.empty()) continue;
      h.thread = me;
      return h.locks;
    }
    holders_.push_back({me, {}});
    return holders_.back().locks;
  }
  [[nodiscard]] bool known(const void* from, const void* to) const {
    return std::any_of(edges_.begin(), edges_.end(),
                       [&](const edge& e) { return e.from == from && e.to == to; });
  }
  /// The first edge of a way, or null.
  const edge* way(const void* from, const void* to) {
    for (auto& e : edges_) e.seen = false;
    return step(from, to);
  }
  const edge* step(const void* from, const void* to) {
    for (auto& e : edges_) {
      if (e.from != from || e.seen) continue;
      e.seen = true;
      if (e.to == to || step(e.to, to) != nullptr) return &e;
    }
    return nullptr;
  }

  mutable spin_lock busy_;
  list<edge> edges_;
  list<holder> holders_;
  list<inversion> inversions_;
};

}  // namespace detail

/// Until its end, the mutexes and read-write locks of pthread (and so std::mutex and its kin) must be taken
/// in one order: whoever takes B while holding A fixes A before B, and so on through chains. An inversion is
/// a failure in the end, with both places where the locks were taken, whether or not it deadlocked. A try
/// fixes no order, since it cannot wait; what it got counts as held. Waiting for a condition gives its mutex
/// back and takes it anew.
///
/// A lock is known by its address: say forget() when one has gone and others may come to lie there
/// (pthread_mutex_destroy says it by itself).
class lock_order {
 public:
  explicit lock_order(thread_scope whose = all_threads, source_line made = source_line::here())
      : made_{made} {
    const unwatched own_work;
    detail::call_stack::here();  // loads what it needs
    watch(&::pthread_mutex_lock, kind::wait, whose);
    watch(&::pthread_mutex_timedlock, kind::wait, whose);
    watch(&::pthread_mutex_clocklock, kind::wait, whose);
    watch(&::pthread_mutex_trylock, kind::attempt, whose);
    watch(&::pthread_mutex_unlock, kind::unlock, whose);
    watch(&::pthread_mutex_destroy, kind::destroy, whose);
    watch(&::pthread_rwlock_rdlock, kind::wait, whose);
    watch(&::pthread_rwlock_wrlock, kind::wait, whose);
    watch(&::pthread_rwlock_timedrdlock, kind::wait, whose);
    watch(&::pthread_rwlock_timedwrlock, kind::wait, whose);
    watch(&::pthread_rwlock_clockrdlock, kind::wait, whose);
    watch(&::pthread_rwlock_clockwrlock, kind::wait, whose);
    watch(&::pthread_rwlock_tryrdlock, kind::attempt, whose);
    watch(&::pthread_rwlock_trywrlock, kind::attempt, whose);
    watch(&::pthread_rwlock_unlock, kind::unlock, whose);
    watch(&::pthread_rwlock_destroy, kind::destroy, whose);
    watch_condition(&::pthread_cond_wait, whose);
    watch_condition(&::pthread_cond_timedwait, whose);
    watch_condition(&::pthread_cond_clockwait, whose);
  }
  ~lock_order() {
    const unwatched own_work;
    stubs_.clear();
    if (const auto order = kept(); !order) detail::report_at_end({order.message(), made_});
  }
  lock_order(const lock_order&) = delete;
  lock_order& operator=(const lock_order&) = delete;

  /// How failures call a lock. `lock` is a pthread_mutex_t*, std::mutex* or the like.
  void name(const void* lock, std::string as) {
    const unwatched own_work;
    const std::lock_guard guard{detail::workshop::instance().lock()};
    names_[lock] = std::move(as);
  }
  /// The lock has gone: what lies at its address next is another one.
  void forget(const void* lock) {
    const unwatched own_work;
    graph_.forget(lock);
  }
  /// The question before the end. A no is reported in the end all the same.
  [[nodiscard]] verdict kept() const {
    const unwatched own_work;
    const auto found = graph_.inversions();
    std::ostringstream words;
    words << "locks were taken in " << (found.empty() ? "one order" : "different orders");
    for (const auto& i : found) {
      words << "\n  thread " << i.now.thread << " took " << called(i.wanted) << " while it held "
            << called(i.held) << ", at " << i.now.from.text() << "\n  thread " << i.before.thread
            << " had taken " << called(i.before_wanted) << " while it held " << called(i.before_held)
            << ", at " << i.before.from.text();
    }
    return {found.empty(), words.str()};
  }

 private:
  enum class kind { wait, attempt, unlock, destroy };

  template <class F>
  void watch(F function, kind what, thread_scope whose) {
    add<F>(location{function}, whose, [this, what](auto original, auto* lock, auto... rest) {
      note(what, lock);
      const int result = original(lock, rest...);
      if (result == 0 && (what == kind::wait || what == kind::attempt)) own([&] { graph_.have(lock); });
      return result;
    });
  }
  template <class F>
  void watch_condition(F function, thread_scope whose) {
    add<F>(location{function}, whose, [this](auto original, auto* condition, auto* mutex, auto... rest) {
      note(kind::unlock, mutex);
      const int result = original(condition, mutex, rest...);
      note(kind::wait, mutex);  // taken by now, whatever the result
      own([&] { graph_.have(mutex); });
      return result;
    });
  }
  template <class F, class Callable>
  void add(const location& at, thread_scope whose, Callable callable) {
    using type = typename detail::signature<F>::function;
    stubs_.push_back(std::make_shared<stub<type>>(at, std::move(callable), whose));
  }
  void note(kind what, const void* lock) {
    own([&] {
      if (what == kind::wait && graph_.holding()) graph_.want(lock, detail::call_stack::here());
      if (what == kind::unlock) graph_.give_back(lock);
      if (what == kind::destroy) graph_.forget(lock);
    });
  }
  template <class Work>
  static void own(Work work) {
    const unwatched own_work;
    work();
  }
  [[nodiscard]] std::string called(const void* lock) const {
    const std::lock_guard guard{detail::workshop::instance().lock()};
    if (const auto named = names_.find(lock); named != names_.end()) return named->second;
    std::ostringstream words;
    words << "the lock at " << lock;
    return words.str();
  }

  source_line made_;
  detail::lock_graph graph_;
  std::map<const void*, std::string> names_;
  std::vector<std::shared_ptr<void>> stubs_;
};

}  // namespace libprobe
