// Whether a place was reached: asked, or promised until the end of a scope.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <libprobe/probe.hpp>
#include <libprobe/testing/place.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/thread.hpp>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <system_error>

namespace libprobe {

namespace detail {

/// Goes only when no handler can be in it any more.
struct reach_state final : installed {
  thread_scope scope;
  place where;
  libprobe::probe probe;
  std::atomic<std::size_t> count{0};
  std::array<std::atomic<pid_t>, 16> threads{};  // of the first hits

  bool leave() noexcept override {
    unregister_probe_fast(probe);
    return true;
  }
  // Maybe in a signal handler.
  static int hit(libprobe::probe& p, registers& /*unused*/) {
    auto& self = *static_cast<reach_state*>(p.context);
    if (!self.scope.holds() || thread_state.unwatched != 0) return 0;
    const auto number = self.count.fetch_add(1, std::memory_order_relaxed);
    if (number < self.threads.size()) self.threads[number].store(this_thread_id(), std::memory_order_relaxed);
    return 0;
  }
};

}  // namespace detail

/// Counts how often a function or one instruction (`"symbol+0x10"`) is reached, until its end.
class reach {
 public:
  /// Throws std::system_error when the place is refused.
  explicit reach(const location& at, thread_scope whose = all_threads) {
    const unwatched own_work;
    auto& shop = detail::workshop::instance();
    const std::lock_guard guard{shop.lock()};
    state_ = std::make_unique<detail::reach_state>();
    state_->scope = whose;
    state_->where = shop.find(at);
    state_->probe.at = location{static_cast<const void*>(state_->where.address)};
    state_->probe.pre_handler = &detail::reach_state::hit;
    state_->probe.context = state_.get();
    if (const auto refused = register_probe(state_->probe))
      throw std::system_error{refused, last_error_detail()};
  }
  ~reach() {
    const unwatched own_work;
    unregister_probe_fast(state_->probe);
    detail::workshop::instance().bury(std::move(state_));
  }
  reach(const reach&) = delete;
  reach& operator=(const reach&) = delete;

  /// Signal-safe.
  [[nodiscard]] std::size_t count() const noexcept { return state_->count.load(std::memory_order_relaxed); }
  [[nodiscard]] verdict happened() const { return {count() != 0, tell()}; }
  [[nodiscard]] verdict did_not_happen() const { return {count() == 0, tell()}; }
  /// The place, as failures call it.
  [[nodiscard]] const std::string& name() const noexcept { return state_->where.name; }

 private:
  [[nodiscard]] std::string tell() const {
    const unwatched own_work;
    std::ostringstream words;
    const auto times = count();
    words << name() << (times == 0 ? " was not reached" : " was reached ");
    if (times != 0) words << times << (times == 1 ? " time, by thread" : " times, by thread");
    for (std::size_t i = 0; i < times && i < state_->threads.size(); ++i)
      words << ' ' << state_->threads[i].load(std::memory_order_relaxed);
    return words.str() + (times > state_->threads.size() ? " ..." : "");
  }

  std::unique_ptr<detail::reach_state> state_;
};

namespace detail {

/// A reach with a promise that is looked at in the end.
template <verdict (reach::*Promise)() const>
class reach_promise {
 public:
  explicit reach_promise(const location& at, thread_scope whose = all_threads,
                         source_line made = source_line::here())
      : reach_{at, whose}, made_{made} {}
  ~reach_promise() {
    const auto kept = (reach_.*Promise)();
    if (!kept) report_at_end({kept.message(), made_});
  }
  reach_promise(const reach_promise&) = delete;
  reach_promise& operator=(const reach_promise&) = delete;

 private:
  reach reach_;
  source_line made_;
};

}  // namespace detail

/// Until its end the place must be reached at least once, or must not be reached: else a failure.
using must_reach = detail::reach_promise<&reach::happened>;
using must_not_reach = detail::reach_promise<&reach::did_not_happen>;

}  // namespace libprobe
