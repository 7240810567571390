// A table from addresses that also knows where none of its keys are.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "site/table.hpp"

namespace libprobe::site {

/// Planning asks about each byte of a function, and of the surroundings of each probe: mostly where
/// there is not a single one. What readers in signal handlers do is find(), as in any table.
template <class T>
class counted_table : public table<T> {
 public:
  /// Writer; as table's.
  void insert(std::uintptr_t key, T* value) noexcept {
    if (table<T>::insert(key, value)) ++count(key);
  }
  void erase(std::uintptr_t key) noexcept {
    table<T>::erase(key);
    --count(key);
  }
  /// Writer. False: none of the keys lies between the addresses. (True: perhaps.)
  [[nodiscard]] bool may_have(std::uintptr_t from, std::uintptr_t to) const noexcept {
    if (to - from >= counts * granule) return true;
    for (auto at = from & ~(granule - 1); at < to; at += granule) {
      if (count_[place(at)] != 0) return true;
    }
    return false;
  }

 private:
  static constexpr std::uintptr_t granule = 4096;  // bytes that share a count
  static constexpr std::size_t counts = 4096;      // granules so far apart share one, too
  static std::size_t place(std::uintptr_t key) noexcept { return key / granule % counts; }
  std::uint32_t& count(std::uintptr_t key) noexcept { return count_[place(key)]; }

  std::array<std::uint32_t, counts> count_{};
};

}  // namespace libprobe::site
