// The typed layer: callables with the probed function's own types. Header only, written on the public API
// alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <libprobe/batch.hpp>
#include <libprobe/jprobe.hpp>
#include <libprobe/location.hpp>
#include <libprobe/replacement.hpp>
#include <libprobe/results.hpp>
#include <libprobe/retprobe.hpp>
#include <libprobe/signature.hpp>
#include <libprobe/variadic.hpp>
#include <memory>
#include <mutex>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace libprobe {

namespace detail {

/// What a handle holds: a probe object together with its callable.
class typed_probe {
 public:
  typed_probe() = default;
  typed_probe(const typed_probe&) = delete;
  typed_probe& operator=(const typed_probe&) = delete;
  virtual ~typed_probe() = default;
  virtual void unregister_fast() noexcept = 0;
  [[nodiscard]] virtual const probe_state& state() const noexcept = 0;
};

/// Handles that were let go by release_fast(): their callables must live until a commit.
class released_probes {
 public:
  static released_probes& instance() {
    static auto* const one = new released_probes;  // outlives static destructors
    return *one;
  }
  void add(std::unique_ptr<typed_probe> what) {
    const std::lock_guard guard{lock_};
    std::erase_if(waiting_, [](const auto& p) {
      return p->state().attachment.load(std::memory_order_acquire) == nullptr;
    });
    waiting_.push_back(std::move(what));
  }

 private:
  std::mutex lock_;
  std::vector<std::unique_ptr<typed_probe>> waiting_;
};

inline void check(const std::error_code& refused) {
  if (refused) throw std::system_error{refused, last_error_detail()};
}

template <class T>
void* function_address(T* function) noexcept {
  return reinterpret_cast<void*>(function);
}

/// How an observer sees an argument: what the function is given by value, or may move from, it must not take
/// away.
template <class A>
using observed = std::conditional_t<std::is_lvalue_reference_v<A>, A, const std::remove_reference_t<A>&>;

template <class Function, class Callable>
class entry_probe;
template <class R, class... A, class Callable>
class entry_probe<R(A...), Callable> final : public typed_probe {
  static_assert(
      std::is_invocable_v<Callable&, observed<A>...>,
      "on_entry() calls its callable with the function's arguments; those that the function gets by "
      "value or as rvalue references come as const references, so that nothing is taken from it");

 public:
  entry_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    probe_.at = std::move(at);
    probe_.entry =
        place_of_result_is_argument<R>() ? function_address(&run_behind_result) : function_address(&run);
    probe_.flags = flags;
    probe_.context = this;
    probe_.stack_bytes = signature<R(A...)>::stack_bytes;
    check(register_jprobe(probe_));
  }
  ~entry_probe() override { unregister_jprobe(probe_); }
  void unregister_fast() noexcept override { unregister_jprobe_fast(probe_); }
  [[nodiscard]] const probe_state& state() const noexcept override { return probe_.state_; }

 private:
  // A class that goes by reference behind the scenes stays the caller's, who also destroys it.
  static void run(A... arguments) { tell(arguments...); }
  static void run_behind_result(void* /*where the result will be*/, A... arguments) { tell(arguments...); }
  static void tell(observed<A>... arguments) {
    static_cast<entry_probe*>(current_jprobe()->context)->callable_(static_cast<observed<A>>(arguments)...);
  }
  Callable callable_;
  jprobe probe_;
};

template <class R, class Callable>
class return_probe final : public typed_probe {
 public:
  return_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    probe_.at = std::move(at);
    probe_.handler = &run;
    probe_.flags = flags;
    probe_.context = this;
    check_result();
    check(register_retprobe(probe_));
  }
  ~return_probe() override { unregister_retprobe(probe_); }
  void unregister_fast() noexcept override { unregister_retprobe_fast(probe_); }
  [[nodiscard]] const probe_state& state() const noexcept override { return probe_.state_; }

 private:
  static void run(retprobe_instance& call, registers& regs) {
    auto& callable = static_cast<return_probe*>(call.probe().context)->callable_;
    if constexpr (std::is_void_v<R>) {
      callable();
    } else {
      callable(result_in<R>(regs));
    }
  }
  // What no trait tells: packed classes come in memory, say.
  static void check_result() {
    if (!comes_in_registers<R>()) {
      throw std::system_error{std::make_error_code(std::errc::not_supported),
                              "on_return(): the result does not come in general or vector registers"};
    }
  }
  Callable callable_;
  retprobe probe_;
};

template <class Function, class Callable>
class replacing_probe final : public typed_probe {
 public:
  replacing_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    replacement_.at = std::move(at);
    replacement_.entry = entry<Function>::address();
    replacement_.flags = flags;
    replacement_.context = this;
    replacement_.stack_bytes = signature<Function>::stack_bytes;
    replacement_.result = result_registers_of<typename signature<Function>::result>();
    check(register_replacement(replacement_));
  }
  ~replacing_probe() override { unregister_replacement(replacement_); }
  void unregister_fast() noexcept override { unregister_replacement_fast(replacement_); }
  [[nodiscard]] const probe_state& state() const noexcept override { return replacement_.state_; }

 private:
  static replacing_probe& current() noexcept {
    return *static_cast<replacing_probe*>(current_replacement()->context);
  }
  template <class F>
  struct entry;
  template <class R, class... A>
  struct entry<R(A...)> {
    static_assert(std::is_invocable_r_v<R, Callable&, R (*)(A...), A...>,
                  "replace() calls its callable with a pointer to the original function and the function's "
                  "arguments; its result must convert to the function's");
    static void* address() noexcept { return function_address(&run); }
    static R run(A... arguments) {
      auto& self = current();
      auto* const original_function = reinterpret_cast<R (*)(A...)>(original(self.replacement_));
      if constexpr (std::is_void_v<R>) {
        self.callable_(original_function, std::forward<A>(arguments)...);
      } else {
        return self.callable_(original_function, std::forward<A>(arguments)...);
      }
    }
  };
  template <class R, class... A>
  struct entry<R(A..., ...)> {
    static_assert(std::is_invocable_r_v<R, Callable&, variadic_original<R(A...)>, A...>,
                  "replace() calls its callable with the original function and the function's fixed "
                  "arguments; its result must convert to the function's");
    static void* address() noexcept { return function_address(&variadic_entry<R(A...), &serve>::run); }
    static R serve(const variadic_rest<R(A...)>& rest, A... arguments) {
      auto& self = current();
      const variadic_original<R(A...)> original_function{
          reinterpret_cast<R (*)(A..., ...)>(original(self.replacement_)), rest};
      if constexpr (std::is_void_v<R>) {
        self.callable_(original_function, std::forward<A>(arguments)...);
      } else {
        return self.callable_(original_function, std::forward<A>(arguments)...);
      }
    }
  };
  Callable callable_;
  replacement replacement_;
};

}  // namespace detail

/// A probe with its callable. Move-only; the destructor unregisters and waits until no thread runs the
/// callable. Not to be destroyed inside its own callable.
class [[nodiscard]] scoped_probe {
 public:
  scoped_probe() = default;
  explicit scoped_probe(std::unique_ptr<detail::typed_probe> what) noexcept : what_{std::move(what)} {}

  [[nodiscard]] explicit operator bool() const noexcept { return what_ != nullptr; }
  /// Unregisters, waits, and leaves the handle empty.
  void release() noexcept { what_.reset(); }
  /// Unregisters without waiting: the callable is kept until a commit_probes() has been, and leaves the
  /// handle empty.
  void release_fast() {
    if (what_ == nullptr) return;
    what_->unregister_fast();
    detail::released_probes::instance().add(std::move(what_));
  }
  [[nodiscard]] std::uint64_t hits() const noexcept { return what_ ? detail::hits(what_->state()) : 0; }
  [[nodiscard]] std::uint64_t nmissed() const noexcept { return what_ ? detail::nmissed(what_->state()) : 0; }
  [[nodiscard]] void* address() const noexcept {
    return what_ ? detail::address_of(what_->state()) : nullptr;
  }

 private:
  std::unique_ptr<detail::typed_probe> what_;
};

/// Calls `callable` with the function's arguments (a member function's object first, as a pointer) whenever
/// the function is called; in ordinary context, see jprobe.hpp. What the function gets by value, or as an
/// rvalue reference, comes as a const reference. Of a variadic function's arguments the fixed ones. All three
/// throw std::system_error when they are refused.
template <class Function, class Callable>
scoped_probe on_entry(location at, Callable callable, probe_flags flags = probe_flags::none) {
  using types = detail::signature<Function>;
  return scoped_probe{std::make_unique<detail::entry_probe<typename types::fixed, Callable>>(
      std::move(at), std::move(callable), flags)};
}
template <class F, class Callable>
requires requires { typename detail::signature<F>::function; }
scoped_probe on_entry(F function, Callable callable, probe_flags flags = probe_flags::none) {
  return on_entry<typename detail::signature<F>::function>(location{function}, std::move(callable), flags);
}

/// Calls `callable` with the function's result whenever it has returned; in ordinary context, see
/// retprobe.hpp.
template <class Function, class Callable>
scoped_probe on_return(location at, Callable callable, probe_flags flags = probe_flags::none) {
  using result = typename detail::signature<Function>::result;
  static_assert(detail::register_result<result>,
                "on_return() takes results that come in registers: scalars, pointers, references, float, "
                "double, and trivially "
                "copyable classes of up to 16 bytes; use a retprobe for others");
  return scoped_probe{
      std::make_unique<detail::return_probe<result, Callable>>(std::move(at), std::move(callable), flags)};
}
template <class F, class Callable>
requires requires { typename detail::signature<F>::function; }
scoped_probe on_return(F function, Callable callable, probe_flags flags = probe_flags::none) {
  return on_return<typename detail::signature<F>::function>(location{function}, std::move(callable), flags);
}

/// Runs `callable(original, arguments...)` in the function's place; its result goes to the caller. `original`
/// is a pointer to the function as it was; of a variadic function a variadic_original, and `arguments` are
/// the fixed ones. See replacement.hpp.
template <class Function, class Callable>
scoped_probe replace(location at, Callable callable, probe_flags flags = probe_flags::none) {
  using types = detail::signature<Function>;
  return scoped_probe{std::make_unique<detail::replacing_probe<typename types::function, Callable>>(
      std::move(at), std::move(callable), flags)};
}
template <class F, class Callable>
requires requires { typename detail::signature<F>::function; }
scoped_probe replace(F function, Callable callable, probe_flags flags = probe_flags::none) {
  return replace<typename detail::signature<F>::function>(location{function}, std::move(callable), flags);
}

}  // namespace libprobe
