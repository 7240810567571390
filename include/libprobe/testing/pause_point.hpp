// The pause point: threads that come to a place stand there until the test lets them go.
#pragma once

#include <dirent.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <libprobe/probe.hpp>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/thread.hpp>
#include <memory>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace libprobe {

namespace detail {

/// A number that threads wait for, also in signal handlers: system calls and atomics only.
class signal_safe_event {
 public:
  using clock = std::chrono::steady_clock;

  [[nodiscard]] std::uint32_t value() const noexcept { return value_.load(std::memory_order_acquire); }
  void set(std::uint32_t now) noexcept {
    value_.store(now, std::memory_order_release);
    wake();
  }
  void add() noexcept {
    value_.fetch_add(1, std::memory_order_acq_rel);
    wake();
  }
  /// Until holds(value()) or the time has come; says which.
  template <class Condition>
  bool wait(Condition holds, std::chrono::nanoseconds until) const noexcept {
    for (;;) {
      const auto seen = value();
      if (holds(seen)) return true;
      const auto left = until - now();
      if (left.count() <= 0) return false;
      const timespec limit{static_cast<time_t>(left.count() / 1'000'000'000),
                           static_cast<long>(left.count() % 1'000'000'000)};
      ::syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, seen, &limit, nullptr, 0);
    }
  }
  /// The kernel's own time: clock_gettime() may be frozen.
  static std::chrono::nanoseconds now() noexcept {
    timespec time{};
    ::syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
  }

 private:
  void wake() noexcept { ::syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
  std::atomic<std::uint32_t> value_{0};
  static_assert(sizeof(value_) == 4 && std::atomic<std::uint32_t>::is_always_lock_free);
};

/// What threads did at a place, in order; written by handlers. The last deeds are kept.
class diary {
 public:
  enum class deed : std::uint8_t { none, stood, went_on, gave_up_waiting, passed };
  void note(deed what) noexcept {
    auto& line = lines_[next_.fetch_add(1, std::memory_order_relaxed) % lines_.size()];
    line.thread.store(this_thread_id(), std::memory_order_relaxed);
    line.what.store(what, std::memory_order_release);
  }
  [[nodiscard]] bool empty() const noexcept { return next_.load(std::memory_order_relaxed) == 0; }
  [[nodiscard]] std::string text() const {
    static constexpr const char* words[] = {"is about to come", "came and stood there", "was let go",
                                            "was not let go in time and went on by itself",
                                            "passed without a stop"};
    const auto count = next_.load(std::memory_order_relaxed);
    if (count == 0) return "\n  no thread came by";
    const auto first = count > lines_.size() ? count - lines_.size() : 0;
    std::ostringstream out;
    if (first > 0) out << "\n  after " << first << " earlier events";
    for (auto i = first; i < count; ++i) {
      const auto& line = lines_[i % lines_.size()];
      const auto what = line.what.load(std::memory_order_acquire);
      out << "\n  thread " << line.thread.load(std::memory_order_relaxed) << ' '
          << words[static_cast<std::size_t>(what)];
    }
    return out.str();
  }

 private:
  struct event {
    std::atomic<pid_t> thread{0};
    std::atomic<deed> what{deed::none};
  };
  std::array<event, 32> lines_;
  std::atomic<std::size_t> next_{0};
};

/// A pause point's place and who is there. Goes only when no handler can be in it any more.
struct pause_state final : installed {
  static constexpr std::uint32_t everybody = 1U << 31;

  thread_scope scope;
  unsigned stops = 0;
  std::chrono::nanoseconds limit{};
  place where;
  libprobe::probe probe;
  std::atomic<std::uint32_t> tickets{0};
  signal_safe_event came;
  signal_safe_event released;  // so many of those that come may go
  signal_safe_event left;
  std::atomic<unsigned> gave_up{0};
  diary notes;

  bool leave() noexcept override {
    unregister_probe_fast(probe);
    return true;
  }

  // Maybe in a signal handler.
  static int hit(libprobe::probe& p, registers& /*unused*/) {
    static_cast<pause_state*>(p.context)->stop();
    return 0;
  }
  void stop() noexcept {
    using enum diary::deed;
    if (!scope.holds() || thread_state.unwatched != 0) return;
    const auto number = tickets.fetch_add(1, std::memory_order_relaxed);
    if (number >= stops || released.value() > number) return notes.note(passed);
    notes.note(stood);
    came.add();
    const auto until = signal_safe_event::now() + limit;
    const bool let_go = released.wait([&](std::uint32_t count) { return count > number; }, until);
    if (!let_go) gave_up.fetch_add(1, std::memory_order_relaxed);
    notes.note(let_go ? went_on : gave_up_waiting);
    left.add();
  }

  /// All that there are; under the workshop's lock.
  static std::vector<const pause_state*>& all() {
    static auto* const states = new std::vector<const pause_state*>;
    return *states;
  }
};

/// What the threads of the process are doing, as far as the kernel tells.
inline std::string describe_threads() {
  std::string lines;
  DIR* const tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return lines;
  while (const dirent* task = ::readdir(tasks)) {
    if (task->d_name[0] == '.') continue;
    std::ifstream file{std::string{"/proc/self/task/"} + task->d_name + "/stat"};
    std::string stat;  // "4711 (name) S ..."
    std::getline(file, stat);
    const auto end = stat.rfind(')');
    if (end == std::string::npos || end + 2 >= stat.size()) continue;
    const char state = stat[end + 2];
    lines += "\n  thread " + stat.substr(0, end + 1) +
             (state == 'R'                   ? " runs"
              : state == 'S' || state == 'D' ? " waits"
                                             : " is in state ");
    if (state != 'R' && state != 'S' && state != 'D') lines += state;
  }
  ::closedir(tasks);
  return lines;
}

}  // namespace detail

/// How a pause point stops threads.
struct pause_options {
  thread_scope threads = all_threads;
  unsigned stops = UINT_MAX;  ///< so many threads stop, those that come later pass
  /// How long wait_until_reached() waits; and a thread that stands there for so long goes on by itself, which
  /// is a failure.
  std::chrono::milliseconds limit = std::chrono::seconds{10};
};

/// Stops threads at a function or at one instruction (`"symbol+0x10"`), before it runs, until release(), so
/// that an interleaving becomes deterministic. Threads stand inside a probe's handler, with whatever locks
/// they hold. No wait is for ever: what takes longer than its limit is a failure that names the place and
/// tells what each thread did.
///
/// While a thread stands there, a commit_probes() waits for it; so do handles of on_entry() and the like that
/// are destroyed. Fixtures do not. A thread that is in another probe's handler passes. The destructor lets
/// everybody go.
class pause_point {
 public:
  /// Throws std::system_error when the place is refused.
  explicit pause_point(const location& at, pause_options how = {}, source_line made = source_line::here())
      : made_{made} {
    const unwatched own_work;
    auto& shop = detail::workshop::instance();
    const std::lock_guard guard{shop.lock()};
    state_ = std::make_unique<detail::pause_state>();
    auto& s = *state_;
    s.scope = how.threads;
    s.stops = how.stops;
    s.limit = how.limit;
    s.where = shop.find(at);
    s.probe.at = location{static_cast<const void*>(s.where.address)};
    s.probe.pre_handler = &detail::pause_state::hit;
    s.probe.context = &s;
    if (const auto refused = register_probe(s.probe)) throw std::system_error{refused, last_error_detail()};
    shop.add_pause();
    detail::pause_state::all().push_back(&s);
  }
  ~pause_point() {
    const unwatched own_work;
    release_all();
    if (state_->gave_up.load() != 0) detail::report_at_end({tell("a thread was not let go in time"), made_});
    auto& shop = detail::workshop::instance();
    const std::lock_guard guard{shop.lock()};
    std::erase(detail::pause_state::all(), state_.get());
    unregister_probe_fast(state_->probe);
    shop.bury(std::move(state_));
    shop.remove_pause();
  }
  pause_point(const pause_point&) = delete;
  pause_point& operator=(const pause_point&) = delete;

  /// Waits until so many threads have come and stopped here since the beginning.
  [[nodiscard]] verdict reached_by(unsigned threads, std::chrono::milliseconds limit) const {
    const unwatched own_work;
    const bool good = state_->came.wait([&](std::uint32_t came) { return came >= threads; }, from_now(limit));
    std::ostringstream words;
    words << arrivals() << " of " << threads << " threads came within " << limit.count() << " ms";
    return {good, tell(words.str())};
  }
  /// The same, reported as a failure at the caller's line. Returns whether they came.
  bool wait_until_reached(unsigned threads = 1, source_line at = source_line::here()) const {
    const auto limit = std::chrono::duration_cast<std::chrono::milliseconds>(state_->limit);
    const auto come = reached_by(threads, limit);
    expect(come, at);
    return static_cast<bool>(come);
  }
  /// Threads that have stopped here since the beginning, and those that stand here now. Signal-safe.
  [[nodiscard]] unsigned arrivals() const noexcept { return state_->came.value(); }
  [[nodiscard]] unsigned standing() const noexcept { return state_->came.value() - state_->left.value(); }

  /// Lets the one go that came first. If none has come, the first to come passes. Signal-safe, like the next.
  void release() noexcept { state_->released.add(); }
  /// Lets all go; from now on nobody stops.
  void release_all() noexcept { state_->released.set(detail::pause_state::everybody); }

  /// The place, as failures call it.
  [[nodiscard]] const std::string& name() const noexcept { return state_->where.name; }

 private:
  static std::chrono::nanoseconds from_now(std::chrono::milliseconds limit) noexcept {
    return detail::signal_safe_event::now() + limit;
  }

  /// The complaint, what threads did here and at the other pause points, and what they do now.
  [[nodiscard]] std::string tell(const std::string& complaint) const {
    std::string message = "pause point " + name() + ": " + complaint + state_->notes.text();
    const std::lock_guard guard{detail::workshop::instance().lock()};
    for (const auto* other : detail::pause_state::all()) {
      if (other != state_.get() && !other->notes.empty())
        message += "\npause point " + other->where.name + ':' + other->notes.text();
    }
    return message + "\nthe process:" + detail::describe_threads();
  }

  const source_line made_;
  std::unique_ptr<detail::pause_state> state_;
};

}  // namespace libprobe
