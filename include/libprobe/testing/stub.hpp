// Another function in a function's place for one test: the stub, and the fault, which is one for some calls.
#pragma once

#include <errno.h>

#include <atomic>
#include <cstddef>
#include <exception>
#include <functional>
#include <libprobe/testing/hook.hpp>
#include <libprobe/testing/thread.hpp>
#include <type_traits>
#include <utility>

namespace libprobe {

namespace detail {

template <class F, class Callable>
struct stubbing;
template <class R, class... A, class Callable>
struct stubbing<R(A...), Callable> final : interceptor<R(A...)> {
  static_assert(std::is_invocable_r_v<R, Callable&, onward<R(A...)>, A...>,
                "a stub's callable gets the original function and the function's arguments; its result must "
                "convert to the function's");
  stubbing(thread_scope whose, Callable callable)
      : interceptor<R(A...)>{whose}, callable_{std::move(callable)} {}
  R call(onward<R(A...)> original, A... arguments) override {
    if constexpr (std::is_void_v<R>) {
      callable_(original, std::forward<A>(arguments)...);
    } else {
      return callable_(original, std::forward<A>(arguments)...);
    }
  }

 private:
  Callable callable_;
};

/// What holds an interceptor whose own type does not matter.
template <class F>
class any_hooked {
 public:
  template <class Interceptor, class... Arguments>
  static any_hooked make(const location& at, Arguments&&... arguments) {
    return any_hooked{std::make_unique<model<Interceptor>>(at, std::forward<Arguments>(arguments)...)};
  }
  [[nodiscard]] const std::string& name() const noexcept { return what_->name(); }

 private:
  struct concept_base {
    virtual ~concept_base() = default;
    [[nodiscard]] virtual const std::string& name() const noexcept = 0;
  };
  template <class Interceptor>
  struct model final : concept_base {
    template <class... Arguments>
    explicit model(const location& at, Arguments&&... arguments)
        : hook{std::in_place_type<F>, at, std::forward<Arguments>(arguments)...} {}
    [[nodiscard]] const std::string& name() const noexcept override { return hook.name(); }
    hooked<Interceptor> hook;
  };
  explicit any_hooked(std::unique_ptr<concept_base> what) : what_{std::move(what)} {}
  std::unique_ptr<concept_base> what_;
};

}  // namespace detail

/// Runs `callable(original, arguments...)` in the function's place until its end, for the threads in scope;
/// for others the function is as ever. Unlike replace(), several fixtures share a function: the newest comes
/// first, and its `original` is the next one.
template <class F>
class stub {
  using fixed = typename detail::signature<F>::fixed;

 public:
  template <class Callable>
  stub(const location& at, Callable callable, thread_scope whose = all_threads)
      : what_{detail::any_hooked<F>::template make<detail::stubbing<fixed, Callable>>(at, whose,
                                                                                      std::move(callable))} {}

 private:
  detail::any_hooked<F> what_;
};
template <class F, class... Rest>
stub(F, Rest...) -> stub<typename detail::signature<F>::function>;

/// For a stub: does nothing but return the value.
template <class T>
auto returns(T value) {
  return [value = std::move(value)](auto&&... /*unused*/) { return value; };
}
inline auto returns() {
  return [](auto&&... /*unused*/) {};
}

/// Which calls fail. Calls are counted from 1, for each fault on its own, among those of its scope.
class which_calls {
 public:
  static which_calls from_to(std::size_t first, std::size_t last) noexcept { return {first, last, 1}; }
  static which_calls each(std::size_t n) noexcept { return {n, ~std::size_t{0}, n}; }
  [[nodiscard]] bool holds(std::size_t number) const noexcept {
    return number >= first_ && number <= last_ && (number - first_) % step_ == 0;
  }

 private:
  which_calls(std::size_t first, std::size_t last, std::size_t step) noexcept
      : first_{first}, last_{last}, step_{step} {}
  std::size_t first_, last_, step_;
};
inline which_calls call_number(std::size_t n) noexcept { return which_calls::from_to(n, n); }
inline which_calls calls_from(std::size_t n) noexcept { return which_calls::from_to(n, ~std::size_t{0}); }
inline which_calls every_call() noexcept { return calls_from(1); }
inline which_calls every_nth_call(std::size_t n) noexcept { return which_calls::each(n == 0 ? 1 : n); }

/// How they fail: with a value and, if not 0, with errno; or with an exception.
template <class T>
auto fails_with(T value, int error = 0) {
  return [value = std::move(value), error]() -> T {
    if (error != 0) errno = error;
    return value;
  };
}
template <class Exception>
auto fails_throwing(Exception what) {
  return [what = std::move(what)]() -> Exception { throw what; };
}

namespace detail {

template <class F, class Predicate, class Failing>
struct failing;
template <class R, class... A, class Predicate, class Failing>
struct failing<R(A...), Predicate, Failing> final : interceptor<R(A...)> {
  failing(thread_scope whose, Predicate chosen, Failing how, std::atomic<std::size_t>* counters)
      : interceptor<R(A...)>{whose}, predicate{std::move(chosen)}, fail{std::move(how)}, count{counters} {}

  R call(onward<R(A...)> original, A... arguments) override {
    bool chosen = false;
    if constexpr (std::is_same_v<Predicate, which_calls>) {
      chosen = predicate.holds(count[0].fetch_add(1) + 1);
    } else {
      count[0].fetch_add(1);
      chosen = predicate(std::as_const(arguments)...);
    }
    if (!chosen) return original(std::forward<A>(arguments)...);
    count[1].fetch_add(1);
    if constexpr (std::is_void_v<R>) {
      fail();
    } else if constexpr (std::is_convertible_v<std::invoke_result_t<Failing&>, R>) {
      return fail();
    } else {
      fail();
      std::terminate();  // it throws
    }
  }

  Predicate predicate;
  Failing fail;
  std::atomic<std::size_t>* count;
};

}  // namespace detail

/// Makes chosen calls of a function fail without running it:
/// `fault f{"libc.so.6:malloc", call_number(3), fails_with(nullptr, ENOMEM)}` with `fault<void*(size_t)>`.
/// `chosen` is one of which_calls or a predicate on the arguments, `how` comes from fails_with() or
/// fails_throwing() (or is any callable without arguments). An exception passes through the function's
/// callers, so do this to C++ code only.
template <class F>
class fault {
  using fixed = typename detail::signature<F>::fixed;

 public:
  template <class Chosen, class How>
  fault(const location& at, Chosen chosen, How how, thread_scope whose = all_threads)
      : what_{detail::any_hooked<F>::template make<detail::failing<fixed, Chosen, How>>(
            at, whose, std::move(chosen), std::move(how), counters_)} {}
  fault(const fault&) = delete;
  fault& operator=(const fault&) = delete;

  /// Calls that came by, and those of them that were made to fail.
  [[nodiscard]] std::size_t calls() const noexcept { return counters_[0].load(); }
  [[nodiscard]] std::size_t failed() const noexcept { return counters_[1].load(); }
  /// Whether any was made to fail: a fault that nobody met has tested nothing.
  [[nodiscard]] verdict was_met() const {
    const unwatched own_work;  // malloc may be what fails
    return {failed() > 0, what_.name() + " was called " + std::to_string(calls()) + " times, " +
                              std::to_string(failed()) + " of them were made to fail"};
  }

 private:
  std::atomic<std::size_t> counters_[2] = {};
  detail::any_hooked<F> what_;
};
template <class F, class... Rest>
fault(F, Rest...) -> fault<typename detail::signature<F>::function>;

}  // namespace libprobe
