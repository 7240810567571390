// Code that must not allocate: a scope of the test, or a function.
#pragma once

#include <malloc.h>
#include <stdlib.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <libprobe/retprobe.hpp>
#include <libprobe/testing/hook.hpp>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/stub.hpp>
#include <libprobe/testing/thread.hpp>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace libprobe {

namespace detail {

/// What this thread is inside of. Not many at a time: where there is no room, the oldest is forgotten.
struct depth {
  std::uint64_t of;  // a depths' number; 0: free
  int value;
};
[[gnu::tls_model("initial-exec")]] inline constinit thread_local std::array<depth, 8> entered{};

/// How deep each thread is inside of something. Signal-safe.
class depths {
 public:
  void add(int change) noexcept {
    depth* mine = find(number_);
    if (mine == nullptr && change < 0) return;
    if (mine == nullptr) mine = find(0);
    if (mine == nullptr) mine = entered.data();
    if (mine->of != number_) *mine = {number_, 0};
    if ((mine->value += change) == 0) mine->of = 0;
  }
  [[nodiscard]] bool inside() const noexcept { return find(number_) != nullptr; }

 private:
  static depth* find(std::uint64_t number) noexcept {
    for (auto& d : entered) {
      if (d.of == number) return &d;
    }
    return nullptr;
  }
  static std::uint64_t next() noexcept {
    static constinit std::atomic<std::uint64_t> last{0};
    return ++last;
  }
  // Not the address: a thread may still be inside for one that has gone.
  std::uint64_t number_ = next();
};

/// Follows the calls of a function whose signature need not be known.
struct inside_state final : installed {
  thread_scope scope;
  place where;
  depths depth;
  retprobe probe;

  bool leave() noexcept override {
    unregister_retprobe_fast(probe);
    return true;
  }
  static inside_state& of(retprobe_instance& call) noexcept {
    return *static_cast<inside_state*>(call.probe().context);
  }
  static int begin(retprobe_instance& call, registers& /*unused*/) {
    if (!of(call).scope.holds()) return 1;
    of(call).depth.add(1);
    return 0;
  }
  static void end(retprobe_instance& call, registers& /*unused*/) { of(call).depth.add(-1); }
  static void unwind(retprobe_instance& call) { of(call).depth.add(-1); }
};

/// What was allocated where it must not be.
class allocation_log {
 public:
  struct entry {
    const char* function;
    std::size_t bytes;
    pid_t thread;
    call_stack from;
  };
  /// `bytes` as asked for.
  void add(const char* function, std::size_t bytes) {
    const unwatched own_work;
    const entry made{function, bytes, this_thread_id(), call_stack::here()};
    const std::lock_guard guard{lock_};
    ++count_;
    bytes_ += bytes;
    if (entries_.size() < 8) entries_.push_back(made);
  }
  [[nodiscard]] std::size_t count() const {
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    return count_;
  }
  [[nodiscard]] std::string text() const {
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    std::ostringstream words;
    words << count_ << (count_ == 1 ? " allocation, " : " allocations, ") << bytes_ << " bytes";
    for (const auto& e : entries_)
      words << "\n  " << e.function << '(' << e.bytes << ") in thread " << e.thread << " from "
            << e.from.text();
    if (count_ > entries_.size()) words << "\n  and " << count_ - entries_.size() << " more";
    return words.str();
  }

 private:
  mutable spin_lock lock_;
  std::vector<entry, page_allocator<entry>> entries_;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace detail

/// Until its end malloc and its kin (and so operator new) must not be called: by the thread that made it; or,
/// with a function named, during that function's calls, by the threads in scope. Else a failure in the end
/// that shows the first allocations with their callers. What the function does in threads of its own is not
/// seen, nor what is taken from the system by mmap.
class no_allocation {
 public:
  explicit no_allocation(thread_scope whose = this_thread, source_line made = source_line::here())
      : made_{made}, what_{"the scope"} {
    watch(whose, nullptr);
  }
  /// Throws std::system_error when the place is refused.
  explicit no_allocation(const location& function, thread_scope whose = all_threads,
                         source_line made = source_line::here())
      : made_{made} {
    const unwatched own_work;
    auto& shop = detail::workshop::instance();
    inside_ = std::make_unique<detail::inside_state>();
    inside_->scope = whose;
    inside_->where = shop.find(function);
    what_ = inside_->where.name;
    inside_->probe.at = location{static_cast<const void*>(inside_->where.address)};
    inside_->probe.handler = &detail::inside_state::end;
    inside_->probe.entry_handler = &detail::inside_state::begin;
    inside_->probe.unwind_handler = &detail::inside_state::unwind;
    inside_->probe.context = inside_.get();
    if (const auto refused = register_retprobe(inside_->probe))
      throw std::system_error{refused, last_error_detail()};
    watch(whose, &inside_->depth);
  }
  ~no_allocation() {
    const unwatched own_work;
    hooks_.clear();
    if (inside_ != nullptr) {
      unregister_retprobe_fast(inside_->probe);
      detail::workshop::instance().bury(std::move(inside_));
    }
    if (count() != 0) detail::report_at_end({what_ + " must not allocate, but made " + log_.text(), made_});
  }
  no_allocation(const no_allocation&) = delete;
  no_allocation& operator=(const no_allocation&) = delete;

  [[nodiscard]] std::size_t count() const { return log_.count(); }
  /// The same question before the end. A no is reported in the end all the same.
  [[nodiscard]] verdict kept() const {
    const unwatched own_work;
    if (count() == 0) return {true, {}};
    return {false, what_ + " made " + log_.text()};
  }

 private:
  void watch(thread_scope whose, detail::depths* depth) {
    const unwatched own_work;
    detail::call_stack::here();  // loads what it needs, which allocates
    add(&::malloc, "malloc", whose, depth, [](std::size_t n) { return n; });
    add(&::calloc, "calloc", whose, depth, [](std::size_t n, std::size_t size) { return n * size; });
    add(&::realloc, "realloc", whose, depth, [](void* /*unused*/, std::size_t n) { return n; });
    add(&::reallocarray, "reallocarray", whose, depth,
        [](void* /*unused*/, std::size_t n, std::size_t size) { return n * size; });
    add(&::aligned_alloc, "aligned_alloc", whose, depth,
        [](std::size_t /*unused*/, std::size_t n) { return n; });
    add(&::memalign, "memalign", whose, depth, [](std::size_t /*unused*/, std::size_t n) { return n; });
    add(&::posix_memalign, "posix_memalign", whose, depth,
        [](void** /*unused*/, std::size_t /*unused*/, std::size_t n) { return n; });
  }
  template <class F, class Bytes>
  void add(F function, const char* name, thread_scope whose, detail::depths* depth, Bytes bytes) {
    using type = typename detail::signature<F>::function;
    const auto watching = [this, name, depth, bytes](auto original, auto... arguments) {
      // realloc() may come down to malloc(): one allocation.
      if (!inner_.inside() && (depth == nullptr || depth->inside())) log_.add(name, bytes(arguments...));
      inner_.add(1);
      const auto result = original(arguments...);
      inner_.add(-1);
      return result;
    };
    hooks_.push_back(std::make_shared<stub<type>>(location{function}, watching, whose));
  }

  source_line made_;
  std::string what_;
  std::unique_ptr<detail::inside_state> inside_;
  detail::depths inner_;
  detail::allocation_log log_;
  std::vector<std::shared_ptr<void>> hooks_;
};

}  // namespace libprobe
