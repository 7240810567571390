// The spy: counts a function's calls and keeps their arguments and results.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <libprobe/testing/hook.hpp>
#include <libprobe/testing/report.hpp>
#include <libprobe/testing/thread.hpp>
#include <libprobe/testing/value.hpp>
#include <mutex>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace libprobe {

enum class call_state : unsigned char { running, returned, threw };

/// One recorded call. Prints as `thread 4711: ("abc", 5) -> 3`.
template <class F>
struct recorded_call;
template <class R, class... A>
struct recorded_call<R(A...)> {
  using arguments_type = std::tuple<typename detail::keeping<A>::shown...>;
  struct nothing {};
  using result_type =
      typename std::conditional_t<std::is_void_v<R>, std::type_identity<nothing>,
                                  std::type_identity<typename detail::keeping<
                                      std::conditional_t<std::is_void_v<R>, int, R>>::shown>>::type;

  arguments_type arguments;
  std::optional<result_type> result;  ///< none for void, and until the call has returned
  call_state state = call_state::running;
  int error = 0;     ///< errno when it had returned
  pid_t thread = 0;  ///< the kernel's id of the thread that called

  template <std::size_t N>
  [[nodiscard]] const auto& argument() const noexcept {
    return std::get<N>(arguments);
  }

  friend std::ostream& operator<<(std::ostream& out, const recorded_call& call) {
    out << "thread " << call.thread << ": (";
    std::apply(
        [&](const auto&... argument) {
          [[maybe_unused]] const char* separator = "";
          ((out << std::exchange(separator, ", "), print_value(out, argument)), ...);
        },
        call.arguments);
    out << ')';
    if (call.state == call_state::running) return out << " has not returned";
    if (call.state == call_state::threw) return out << " threw";
    if constexpr (!std::is_void_v<R>) {
      out << " -> ";
      print_value(out, *call.result);
    }
    return out;
  }
};

namespace detail {

/// The calls as they come in, from any thread. Nothing is allocated by malloc for them, so functions that
/// malloc needs can be recorded; an argument's own copy constructor does what it does.
template <class F>
class call_log;
template <class R, class... A>
class call_log<R(A...)> {
  using shown_call = recorded_call<R(A...)>;
  using kept_result = keeping<std::conditional_t<std::is_void_v<R>, int, R>>;
  struct entry {
    std::tuple<typename keeping<A>::stored...> arguments;
    std::optional<typename kept_result::stored> result;
    call_state state;
    int error;
    pid_t thread;
  };

 public:
  static constexpr std::size_t most = 100'000;
  static constexpr std::size_t none = ~std::size_t{0};

  std::size_t begin(const std::remove_reference_t<A>&... arguments) {
    const unwatched own_work;
    entry made{{keeping<A>::store(arguments)...}, {}, call_state::running, 0, this_thread_id()};
    const std::lock_guard guard{lock_};
    ++count_;
    if (entries_.size() == most) return none;
    entries_.push_back(std::move(made));
    return first_ + entries_.size() - 1;
  }
  void end(std::size_t number, call_state how) { end(number, how, {}); }
  void end(std::size_t number, call_state how, std::optional<typename kept_result::stored> result) {
    const int error = errno;
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    ended_.fetch_add(1, std::memory_order_release);
    if (number == none || number < first_) return;
    auto& e = entries_[number - first_];
    e.state = how;
    e.error = error;
    e.result = std::move(result);
  }

  [[nodiscard]] std::vector<shown_call> calls() const {
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    std::vector<shown_call> all;
    all.reserve(entries_.size());
    for (const auto& e : entries_) all.push_back(show(e));
    return all;
  }
  [[nodiscard]] std::size_t count() const noexcept {
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    return count_;
  }
  [[nodiscard]] std::size_t ended() const noexcept { return ended_.load(std::memory_order_acquire); }
  void clear() {
    const unwatched own_work;
    const std::lock_guard guard{lock_};
    first_ += entries_.size();
    entries_.clear();
    ended_.store(0, std::memory_order_relaxed);
    count_ = 0;
  }

 private:
  static shown_call show(const entry& e) {
    shown_call call{std::apply(
                        [](const auto&... kept) {
                          return typename shown_call::arguments_type{keeping<A>::show(kept)...};
                        },
                        e.arguments),
                    {},
                    e.state,
                    e.error,
                    e.thread};
    if constexpr (!std::is_void_v<R>) {
      if (e.result) call.result.emplace(kept_result::show(*e.result));
    }
    return call;
  }

  mutable spin_lock lock_;
  std::vector<entry, page_allocator<entry>> entries_;
  std::size_t first_ = 0;  // number of entries_[0]: clear() may come between a call's begin and end
  std::size_t count_ = 0;
  std::atomic<std::size_t> ended_{0};
};

template <class F>
struct spying;
template <class R, class... A>
struct spying<R(A...)> final : interceptor<R(A...)> {
  using interceptor<R(A...)>::interceptor;
  call_log<R(A...)> log;

  R call(onward<R(A...)> original, A... arguments) override {
    struct ending {
      call_log<R(A...)>& log;
      std::size_t number;
      bool done = false;
      ~ending() {
        if (!done) log.end(number, call_state::threw);
      }
    } call{log, log.begin(arguments...)};
    if constexpr (std::is_void_v<R>) {
      original(std::forward<A>(arguments)...);
      call.done = true;
      log.end(call.number, call_state::returned);
    } else {
      decltype(auto) result = original(std::forward<A>(arguments)...);
      call.done = true;
      const int error = errno;
      auto kept = keep(result);
      errno = error;
      log.end(call.number, call_state::returned, std::move(kept));
      return static_cast<decltype(result)&&>(result);
    }
  }

 private:
  template <class Result>
  static auto keep(const Result& result) {
    const unwatched own_work;
    return keeping<R>::store(result);
  }
};

}  // namespace detail

/// Watches a function until its end; the function runs as ever. `spy s{&f}`, or by a name with the signature:
/// `spy<int(const char*)> s{"libfoo.so.1:parse"}`. Static and library functions, and member functions (the
/// object comes first, as a pointer). Throws std::system_error when the place is refused.
///
/// Arguments and results are kept as copies; of a `const char*` the characters (see `text`), of another
/// pointer the address. The first 100,000 calls are kept, all are counted. The spy's members may be called by
/// any thread while the function is being called.
template <class F>
class spy;
template <class R, class... A>
class spy<R(A...)> {
 public:
  using call = recorded_call<R(A...)>;

  explicit spy(const location& at, thread_scope whose = all_threads)
      : spy{std::in_place_type<R(A...)>, at, whose} {}

  /// The kept calls, in the order in which they began.
  [[nodiscard]] std::vector<call> calls() const { return what_->log.calls(); }
  /// Those of one thread, by the kernel's id.
  [[nodiscard]] std::vector<call> calls_of(pid_t thread) const {
    const unwatched own_work;
    auto all = calls();
    std::erase_if(all, [&](const call& c) { return c.thread != thread; });
    return all;
  }
  [[nodiscard]] std::set<pid_t> threads() const {
    const unwatched own_work;
    std::set<pid_t> ids;
    for (const auto& c : calls()) ids.insert(c.thread);
    return ids;
  }
  /// The N-th (from 0) argument of each call.
  template <std::size_t N>
  [[nodiscard]] auto arguments() const {
    const unwatched own_work;
    std::vector<std::tuple_element_t<N, typename call::arguments_type>> column;
    for (const auto& c : calls()) column.push_back(std::get<N>(c.arguments));
    return column;
  }
  /// The results of those that have returned.
  [[nodiscard]] auto results() const requires(!std::is_void_v<R>) {
    const unwatched own_work;
    std::vector<typename call::result_type> column;
    for (const auto& c : calls()) {
      if (c.result) column.push_back(*c.result);
    }
    return column;
  }
  /// All calls that have begun, kept or not.
  [[nodiscard]] std::size_t count() const noexcept { return what_->log.count(); }
  /// Forgets what was recorded.
  void clear() { what_->log.clear(); }
  /// The function, as failures call it.
  [[nodiscard]] const std::string& name() const noexcept { return what_.name(); }

  [[nodiscard]] verdict was_called() const {
    const unwatched own_work;
    return judge(count() > 0, "was not called");
  }
  [[nodiscard]] verdict was_called(std::size_t times) const {
    const unwatched own_work;
    std::ostringstream what;
    what << "was called " << count() << " times, not " << times;
    return judge(count() == times, what.str());
  }
  /// Whether some call had such arguments: one matcher, predicate or value for each; `anything` fits all.
  template <class... Expected>
  [[nodiscard]] verdict was_called_with(const Expected&... expected) const {
    static_assert(sizeof...(Expected) == sizeof...(A), "one matcher, predicate or value for each argument");
    const unwatched own_work;  // what the test does to ask is not recorded
    bool found = false;
    for (const auto& c : calls()) found = found || fits(c, std::index_sequence_for<A...>{}, expected...);
    std::ostringstream what;
    what << "was not called with (";
    [[maybe_unused]] const char* separator = "";
    ((what << std::exchange(separator, ", "),
      detail::matching<typename detail::keeping<A>::shown, Expected>::describe(what, expected)),
     ...);
    what << ')';
    return judge(found, what.str());
  }
  /// Waits until so many calls have ended, but no longer than the limit.
  [[nodiscard]] verdict ends_calls(std::size_t times,
                                   std::chrono::milliseconds limit = std::chrono::seconds{10}) const {
    const unwatched own_work;
    const auto until = std::chrono::steady_clock::now() + limit;
    while (what_->log.ended() < times && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::microseconds{100});
    std::ostringstream what;
    what << "ended " << what_->log.ended() << " calls within " << limit.count() << " ms, not " << times;
    return judge(what_->log.ended() >= times, what.str());
  }

 private:
  template <std::size_t... I, class... Expected>
  static bool fits(const call& c, std::index_sequence<I...> /*unused*/, const Expected&... expected) {
    return (detail::matching<std::tuple_element_t<I, typename call::arguments_type>, Expected>::matches(
                std::get<I>(c.arguments), expected) &&
            ...);
  }

  /// The complaint, and what was recorded.
  [[nodiscard]] verdict judge(bool good, const std::string& complaint) const {
    constexpr std::size_t most_shown = 20;
    const auto all = calls();
    std::ostringstream message;
    if (!good) message << name() << ' ' << complaint << '\n';
    message << "recorded of " << name() << ": " << count() << (count() == 1 ? " call" : " calls");
    for (std::size_t i = 0; i < all.size() && i < most_shown; ++i)
      message << "\n  " << i + 1 << ". " << all[i];
    if (count() > most_shown) message << "\n  and " << count() - most_shown << " more";
    if (count() > all.size()) message << "\n  " << count() - all.size() << " of them were not kept";
    return {good, message.str()};
  }

  template <class F>
  friend class spy;
  template <class F>
  spy(std::in_place_type_t<F> function, const location& at, thread_scope whose)
      : what_{function, at, whose} {}

  detail::hooked<detail::spying<R(A...)>> what_;
};
/// Of a variadic function: the fixed arguments are recorded, and the function gets all of them, as far as
/// variadic_original tells.
template <class R, class... A>
class spy<R(A..., ...)> : public spy<R(A...)> {
 public:
  explicit spy(const location& at, thread_scope whose = all_threads)
      : spy<R(A...)>{std::in_place_type<R(A..., ...)>, at, whose} {}
};

template <class F, class... Scope>
spy(F, Scope...) -> spy<typename detail::signature<F>::function>;

}  // namespace libprobe
