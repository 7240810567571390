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
#include <libprobe/retprobe.hpp>
#include <memory>
#include <mutex>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

extern "C" {
/// Returns with the result registers as they lie in memory: rax, rdx, xmm0, xmm1 (x86-64). Called as a
/// function of the type whose result it is to produce.
void libprobe_load_result(const void* result_registers);
}

namespace libprobe {

namespace detail {

/// A function's types. A member function's object comes first, as a pointer.
template <class F>
struct signature;
template <class R, class... A>
struct signature<R(A...)> {
  using result = R;
  using function = R(A...);
  using arguments = std::tuple<A...>;
  // An upper bound of the argument area: as if every argument were on the stack, each aligned to at most 64
  // bytes.
  static constexpr std::size_t stack_bytes =
      (std::size_t{0} + ... + ((sizeof(A) + 7) / 8 * 8 + (alignof(A) > 8 ? alignof(A) : 0)));
};
template <class R, class... A>
struct signature<R(A...) noexcept> : signature<R(A...)> {};
template <class R, class... A>
struct signature<R (*)(A...)> : signature<R(A...)> {};
template <class R, class... A>
struct signature<R (*)(A...) noexcept> : signature<R(A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...)> : signature<R(C*, A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) const> : signature<R(const C*, A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) noexcept> : signature<R(C*, A...)> {};
template <class R, class C, class... A>
struct signature<R (C::*)(A...) const noexcept> : signature<R(const C*, A...)> {};

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

template <class Function, class Callable>
class entry_probe;
template <class R, class... A, class Callable>
class entry_probe<R(A...), Callable> final : public typed_probe {
 public:
  entry_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    probe_.at = std::move(at);
    probe_.entry = function_address(&run);
    probe_.flags = flags;
    probe_.context = this;
    probe_.stack_bytes = signature<R(A...)>::stack_bytes;
    check(register_jprobe(probe_));
  }
  ~entry_probe() override { unregister_jprobe(probe_); }
  void unregister_fast() noexcept override { unregister_jprobe_fast(probe_); }
  [[nodiscard]] const probe_state& state() const noexcept override { return probe_.state_; }

 private:
  static void run(A... arguments) {
    static_cast<entry_probe*>(current_jprobe()->context)->callable_(std::forward<A>(arguments)...);
  }
  Callable callable_;
  jprobe probe_;
};

/// The results that come in registers. (System V ABI, 3.2.3)
template <class R>
concept register_result = std::is_void_v<R> || std::is_reference_v<R> ||
                          (std::is_scalar_v<R> && !std::is_same_v<std::remove_cv_t<R>, long double>) ||
                          (std::is_class_v<R> && std::is_trivially_copyable_v<R> && sizeof(R) <= 16);

/// An R as a function returns it, made of rax, rdx, xmm0 and xmm1 as they lie in memory.
template <class R>
R load_result(const void* registers) {
  const auto address = reinterpret_cast<std::uintptr_t>(&libprobe_load_result);
  return reinterpret_cast<R (*)(const void*)>(address)(registers);
}

template <class R, class Callable>
class return_probe final : public typed_probe {
 public:
  return_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    probe_.at = std::move(at);
    probe_.handler = &run;
    probe_.flags = flags;
    probe_.context = this;
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
      const returned_registers result{regs};
      callable(load_result<R>(&result));
    }
  }
  struct returned_registers {
    explicit returned_registers(const registers& regs) noexcept : integers{regs.rax, regs.rdx} {
      std::memcpy(vectors, regs.xmm(0), sizeof vectors);  // xmm0 and xmm1
    }
    std::uint64_t integers[2];
    std::byte vectors[32];
  };
  Callable callable_;
  retprobe probe_;
};

/// Where the ABI returns an R. For classes the compiler is asked: an R is made of marked registers.
template <class R>
result_registers result_registers_of() {
  using enum result_registers;
  if constexpr (std::is_void_v<R>) {
    return none;
  } else if constexpr (std::is_reference_v<R>) {
    return first_integer;
  } else if constexpr (std::is_same_v<std::remove_cv_t<R>, long double>) {
    return x87;
  } else if constexpr (std::is_floating_point_v<R>) {
    return first_vector;
  } else if constexpr (std::is_scalar_v<R>) {
    return sizeof(R) > 8 ? first_integer | second_integer : first_integer;
  } else if constexpr (!std::is_class_v<R> && !std::is_union_v<R>) {
    return all;  // vector and other extended types
  } else if constexpr (!std::is_trivially_copyable_v<R> || sizeof(R) > 16) {
    return first_integer;  // it lies in memory, and rax says where
  } else {
    unsigned char marked[48];
    for (std::size_t i = 0; i < sizeof marked; ++i) {  // rax, rdx, then the halves of xmm0 and xmm1
      constexpr unsigned char marks[] = {1, 2, 4, 4, 8, 8};
      marked[i] = marks[i / 8];
    }
    const R made = load_result<R>(marked);
    unsigned char bytes[sizeof(R)];
    std::memcpy(bytes, &made, sizeof bytes);
    unsigned mask = 0;
    for (const auto byte : bytes) {
      if (byte == 1 || byte == 2 || byte == 4 || byte == 8) mask |= byte;
    }
    return static_cast<result_registers>(mask);
  }
}

template <class Function, class Callable>
class replacing_probe;
template <class R, class... A, class Callable>
class replacing_probe<R(A...), Callable> final : public typed_probe {
 public:
  replacing_probe(location at, Callable&& callable, probe_flags flags) : callable_{std::move(callable)} {
    replacement_.at = std::move(at);
    replacement_.entry = function_address(&run);
    replacement_.flags = flags;
    replacement_.context = this;
    replacement_.stack_bytes = signature<R(A...)>::stack_bytes;
    replacement_.result = result_registers_of<R>();
    check(register_replacement(replacement_));
  }
  ~replacing_probe() override { unregister_replacement(replacement_); }
  void unregister_fast() noexcept override { unregister_replacement_fast(replacement_); }
  [[nodiscard]] const probe_state& state() const noexcept override { return replacement_.state_; }

 private:
  static R run(A... arguments) {
    auto* self = static_cast<replacing_probe*>(current_replacement()->context);
    auto* original_function = reinterpret_cast<R (*)(A...)>(original(self->replacement_));
    return self->callable_(original_function, std::forward<A>(arguments)...);
  }
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
/// the function is called; in ordinary context, see jprobe.hpp. All three throw std::system_error when they
/// are refused.
template <class Function, class Callable>
scoped_probe on_entry(location at, Callable callable, probe_flags flags = probe_flags::none) {
  using types = detail::signature<Function>;
  return scoped_probe{std::make_unique<detail::entry_probe<typename types::function, Callable>>(
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
/// is a pointer to the function as it was. See replacement.hpp.
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
