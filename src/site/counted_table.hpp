// A table from addresses that also knows which pages hold none of its keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "site/table.hpp"

namespace libprobe::site {

inline constexpr std::uintptr_t page_mask = 4095;

/// Planning asks about each byte of a function, and of the surroundings of each probe: mostly in pages
/// without a single one. What readers in signal handlers do is find(), as in any table.
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
    if (to - from >= pages * (page_mask + 1)) return true;
    for (auto page = from & ~page_mask; page < to; page += page_mask + 1) {
      if (count_[place(page)] != 0) return true;
    }
    return false;
  }

 private:
  static constexpr std::size_t pages = 4096;  // pages so far apart share a count
  static std::size_t place(std::uintptr_t key) noexcept { return key / (page_mask + 1) % pages; }
  std::uint32_t& count(std::uintptr_t key) noexcept { return count_[place(key)]; }

  std::array<std::uint32_t, pages> count_{};
};

}  // namespace libprobe::site
