// In the place of src/os/atomic.hpp: the same names, explored by the model.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>

#include "interleavings/model.hpp"

namespace libprobe {

inline model::order modelled(std::memory_order o) noexcept {
  switch (o) {
    case std::memory_order_relaxed:
      return model::order::relaxed;
    case std::memory_order_consume:
    case std::memory_order_acquire:
      return model::order::acquire;
    case std::memory_order_release:
      return model::order::release;
    case std::memory_order_acq_rel:
      return model::order::acq_rel;
    default:
      return model::order::seq_cst;
  }
}

/// As large as T, so that layouts are as in the library. Its own value is what it was made with: what is
/// stored during an execution is the model's, so that static variables are as new in the next one.
template <class T>
class atomic {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(model::word));

 public:
  using value_type = T;

  constexpr atomic() noexcept : atomic{T{}} {}
  constexpr atomic(T value) noexcept : value_{value} {  // NOLINT: as std::atomic
    if (!std::is_constant_evaluated()) model::born(this, bits(value_));
  }
  constexpr ~atomic() {
    if (!std::is_constant_evaluated()) model::dies(this);
  }
  atomic(const atomic&) = delete;
  atomic& operator=(const atomic&) = delete;

  T load(std::memory_order o = std::memory_order_seq_cst) const noexcept {
    return model::active() ? value(model::load(this, bits(value_), modelled(o))) : value_;
  }
  void store(T to, std::memory_order o = std::memory_order_seq_cst) noexcept {
    if (!model::active()) {
      value_ = to;
      return;
    }
    model::store(this, bits(value_), bits(to), modelled(o));
  }
  T exchange(T to, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return modify(
        o, [](model::word, model::word operand, model::word) { return operand; }, bits(to));
  }
  bool compare_exchange_strong(T& expected, T wanted, std::memory_order success,
                               std::memory_order failure) noexcept {
    if (!model::active()) {
      const bool same = value_ == expected;
      (same ? value_ : expected) = same ? wanted : value_;
      return same;
    }
    auto was = bits(expected);
    const bool done =
        model::compare_exchange(this, bits(value_), was, bits(wanted), modelled(success), modelled(failure));
    expected = value(was);
    return done;
  }
  bool compare_exchange_strong(T& expected, T wanted,
                               std::memory_order o = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, wanted, o,
                                   o == std::memory_order_acq_rel   ? std::memory_order_acquire
                                   : o == std::memory_order_release ? std::memory_order_relaxed
                                                                    : o);
  }
  bool compare_exchange_weak(T& expected, T wanted, std::memory_order success,
                             std::memory_order failure) noexcept {
    return compare_exchange_strong(expected, wanted, success, failure);
  }
  bool compare_exchange_weak(T& expected, T wanted,
                             std::memory_order o = std::memory_order_seq_cst) noexcept {
    return compare_exchange_strong(expected, wanted, o);
  }
  T fetch_add(T more, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return modify(
        o, [](model::word old, model::word by, model::word mask) { return (old + by) & mask; }, bits(more));
  }
  T fetch_sub(T less, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return modify(
        o, [](model::word old, model::word by, model::word mask) { return (old - by) & mask; }, bits(less));
  }
  T fetch_or(T more, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return modify(
        o, [](model::word old, model::word by, model::word) { return old | by; }, bits(more));
  }
  T fetch_and(T kept, std::memory_order o = std::memory_order_seq_cst) noexcept {
    return modify(
        o, [](model::word old, model::word by, model::word) { return old & by; }, bits(kept));
  }

  T operator=(T to) noexcept {
    store(to);
    return to;
  }
  operator T() const noexcept { return load(); }  // NOLINT: as std::atomic
  T operator++() noexcept { return static_cast<T>(fetch_add(1) + 1); }
  T operator--() noexcept { return static_cast<T>(fetch_sub(1) - 1); }
  T operator++(int) noexcept { return fetch_add(1); }
  T operator--(int) noexcept { return fetch_sub(1); }

 private:
  static constexpr model::word mask =
      sizeof(T) == sizeof(model::word) ? ~model::word{0} : (model::word{1} << (8 * sizeof(T) % 64)) - 1;
  static model::word bits(const T& of) noexcept {
    model::word made = 0;
    std::memcpy(&made, &of, sizeof of);
    return made;
  }
  static T value(model::word of) noexcept {
    T made;
    std::memcpy(static_cast<void*>(&made), &of, sizeof made);
    return made;
  }
  T modify(std::memory_order o, model::word (*change)(model::word, model::word, model::word),
           model::word operand) noexcept {
    if (model::active()) return value(model::modify(this, bits(value_), modelled(o), change, operand, mask));
    const T was = value_;
    value_ = value(change(bits(was), operand, mask));
    return was;
  }

  T value_;
};

inline void thread_fence(std::memory_order o) noexcept {
  if (model::active()) model::fence(modelled(o));
}
/// For the compiler, and signal handlers of the same thread.
inline void signal_fence(std::memory_order) noexcept {}

}  // namespace libprobe
