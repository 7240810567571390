// The x86-64 register file, as the System V ABI (section 3.2) uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace libprobe {
namespace detail {
/// Where the saved vector registers lie, and how far apart, in bytes. xmm null: nowhere yet.
struct saved_vectors {
  std::byte* xmm;
  std::byte* ymm_upper;
  std::uint64_t* in_use;
  std::size_t stride;
};
}  // namespace detail

struct registers;
}  // namespace libprobe

extern "C" {
/// Vector registers are saved at a hit only where a handler may touch them: saves them now. Signal-safe.
void libprobe_save_vectors(libprobe::registers* regs) noexcept;
}

namespace libprobe {

namespace detail {
template <class T>
concept register_integer = std::is_integral_v<T> || std::is_enum_v<T> || std::is_pointer_v<T>;
template <class T>
concept register_float = std::is_same_v<T, float> || std::is_same_v<T, double>;
}  // namespace detail

/// The CPU's state at a hit, read and write. A handler gets a reference that is valid until it returns; what
/// it writes is what the program goes on with. All members are signal-safe; none blocks or allocates.
///
/// In a pre_handler `rip` is the probed address, in a post_handler the address of the next instruction, in a
/// fault_handler that of the faulting (probed) instruction.
struct registers {
  std::uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
  std::uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  std::uint64_t rip, rflags;

  [[nodiscard]] std::uintptr_t ip() const noexcept { return rip; }
  [[nodiscard]] std::uintptr_t sp() const noexcept { return rsp; }
  void set_ip(std::uintptr_t value) noexcept { rip = value; }
  void set_ip(const void* value) noexcept { rip = reinterpret_cast<std::uintptr_t>(value); }

  /// The n-th (from 0) argument of its class, at a function's first instruction: integers and pointers are
  /// counted apart from float and double. For `f(int a, double x, char* s)`: argument<int>(0),
  /// argument<double>(0), argument<char*>(1). From the seventh integer or ninth float on it is read from the
  /// stack, as if no argument of the other class were there.
  template <detail::register_integer T>
  [[nodiscard]] T argument(std::size_t n) const noexcept {
    return narrow<T>(n < 6 ? this->*integer_arguments[n] : *stack_argument(n - 6));
  }
  template <detail::register_float T>
  [[nodiscard]] T argument(std::size_t n) const noexcept {
    T value;
    std::memcpy(&value, n < 8 ? xmm(n) : static_cast<const void*>(stack_argument(n - 8)), sizeof value);
    return value;
  }
  template <detail::register_integer T>
  void set_argument(std::size_t n, T value) noexcept {
    (n < 6 ? this->*integer_arguments[n] : *stack_argument(n - 6)) = widen(value);
  }
  template <detail::register_float T>
  void set_argument(std::size_t n, T value) noexcept {
    std::memcpy(n < 8 ? xmm(n) : static_cast<void*>(stack_argument(n - 8)), &value, sizeof value);
  }

  /// The value that a function returns; meaningful where it has just returned, or is about to.
  template <detail::register_integer T>
  [[nodiscard]] T return_value() const noexcept {
    return narrow<T>(rax);
  }
  template <detail::register_float T>
  [[nodiscard]] T return_value() const noexcept {
    return argument<T>(0);
  }
  template <detail::register_integer T>
  void set_return_value(T value) noexcept {
    rax = widen(value);
  }
  template <detail::register_float T>
  void set_return_value(T value) noexcept {
    set_argument<T>(0, value);
  }

  /// At a function's first instruction: pops the return address and goes there.
  void leave_function() noexcept {
    rip = *reinterpret_cast<const std::uint64_t*>(rsp);
    rsp += sizeof(std::uint64_t);
  }

  /// The 16 bytes of vector register xmm0 .. xmm15, read and write.
  [[nodiscard]] void* xmm(std::size_t n) noexcept {
    if (vectors_.xmm == nullptr) libprobe_save_vectors(this);
    // In its initial state the CPU need not have stored the register: what is written must be marked as in
    // use.
    if (vectors_.in_use != nullptr) *vectors_.in_use |= sse_component;
    return vectors_.xmm + vectors_.stride * n;
  }
  [[nodiscard]] const void* xmm(std::size_t n) const noexcept {
    return const_cast<registers*>(this)->saved_xmm(n);
  }
  /// The upper 16 bytes of ymm0 .. ymm15; null where the CPU has no AVX.
  [[nodiscard]] void* ymm_upper(std::size_t n) noexcept {
    if (vectors_.xmm == nullptr) libprobe_save_vectors(this);
    if (vectors_.ymm_upper == nullptr) return nullptr;
    if (vectors_.in_use != nullptr) *vectors_.in_use |= avx_component;
    return vectors_.ymm_upper + vectors_.stride * n;
  }

  detail::saved_vectors vectors_;  ///< libprobe's own

 private:
  static constexpr std::uint64_t sse_component = 2;  // Intel SDM vol. 1, 13.1: state component 1
  static constexpr std::uint64_t avx_component = 4;  // state component 2
  static constexpr std::uint64_t registers::*integer_arguments[] = {
      &registers::rdi, &registers::rsi, &registers::rdx, &registers::rcx, &registers::r8, &registers::r9};

  [[nodiscard]] const void* saved_xmm(std::size_t n) noexcept {
    if (vectors_.xmm == nullptr) libprobe_save_vectors(this);
    return vectors_.xmm + vectors_.stride * n;
  }
  [[nodiscard]] std::uint64_t* stack_argument(std::size_t n) const noexcept {
    return reinterpret_cast<std::uint64_t*>(rsp) + 1 + n;  // above the return address
  }
  template <class T>
  static T narrow(std::uint64_t value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<T>(value);
    } else {
      return static_cast<T>(value);
    }
  }
  template <class T>
  static std::uint64_t widen(T value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
      return reinterpret_cast<std::uint64_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }
};

}  // namespace libprobe
