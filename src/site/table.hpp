// A hash table from addresses to objects: wait-free to read in any signal handler, while one writer changes
// it.
//
// Open addressing. A key, once in a table, stays in its place for that table's life (erasing clears only the
// value), so a reader can never match one key and read another's value. Growth builds a new table and
// publishes it; the old one must be kept until a grace period has passed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "epoch/retirement.hpp"

namespace libprobe::site {

template <class T>
class table {
 public:
  struct entry {
    atomic<std::uintptr_t> key{0};
    atomic<T*> value{nullptr};
  };
  struct storage : epoch::retired {
    explicit storage(unsigned bits)
        : mask{(std::size_t{1} << bits) - 1}, shift{64 - bits}, entries{new entry[std::size_t{1} << bits]} {
      free = [](epoch::retired& what) noexcept { delete static_cast<storage*>(&what); };
    }
    std::size_t mask;
    unsigned shift;
    std::unique_ptr<entry[]> entries;
  };

  constexpr table() = default;

  /// Readers: inside an epoch section. Null: not there.
  [[nodiscard]] T* find(std::uintptr_t key) const noexcept {
    const storage* now = storage_.load(std::memory_order_acquire);  // pairs with the store in reserve()
    if (now == nullptr) return nullptr;
    for (std::size_t i = hash(key, now->shift);; ++i) {
      const entry& e = now->entries[i & now->mask];
      const auto found = e.key.load(std::memory_order_acquire);  // pairs with the store in insert()
      if (found == key) return e.value.load(std::memory_order_acquire);
      if (found == 0) return nullptr;  // there always is one: the table is never full
    }
  }

  /// Writer: makes room for `more` further keys, so that inserting them cannot fail. Throws std::bad_alloc
  /// and changes nothing then.
  void reserve(std::size_t more) {
    storage* now = storage_.load(std::memory_order_relaxed);
    if (now != nullptr && (used_ + more) * 3 <= (now->mask + 1) * 2) return;
    const auto needed = (live_ + more) * 2 + 8;
    auto next = std::make_unique<storage>(static_cast<unsigned>(std::bit_width(needed - 1)));
    used_ = 0;
    if (now != nullptr) {
      for (std::size_t i = 0; i <= now->mask; ++i) {
        T* value = now->entries[i].value.load(std::memory_order_relaxed);
        if (value != nullptr) place(*next, now->entries[i].key.load(std::memory_order_relaxed), value);
      }
    }
    storage_.store(next.release(), std::memory_order_release);
    if (now != nullptr) now->next_retired = std::exchange(outgrown_, now);
  }

  /// Writer: room for the key must have been reserved. Replaces the value of a key that is there; true if
  /// there was none.
  bool insert(std::uintptr_t key, T* value) noexcept {
    const bool fresh = place(*storage_.load(std::memory_order_relaxed), key, value);
    if (fresh) ++live_;
    return fresh;
  }
  /// Writer.
  void erase(std::uintptr_t key) noexcept {
    const storage* now = storage_.load(std::memory_order_relaxed);
    for (std::size_t i = hash(key, now->shift);; ++i) {
      entry& e = now->entries[i & now->mask];
      if (e.key.load(std::memory_order_relaxed) != key) continue;
      e.value.store(nullptr, std::memory_order_release);
      --live_;
      return;
    }
  }
  /// Writer: every value, in no order.
  template <class F>
  void for_each(F&& visit) const {
    const storage* now = storage_.load(std::memory_order_relaxed);
    for (std::size_t i = 0; now != nullptr && i <= now->mask; ++i) {
      if (T* value = now->entries[i].value.load(std::memory_order_relaxed)) visit(*value);
    }
  }
  /// Writer: outgrown tables are to be freed after a grace period.
  void retire_outgrown(epoch::retirement& to) noexcept {
    while (outgrown_ != nullptr) to.add(*std::exchange(outgrown_, outgrown_->next_retired));
  }
  /// Writer, of a table that nobody else reads.
  void drop_outgrown() noexcept {
    while (outgrown_ != nullptr) {
      auto& one = *std::exchange(outgrown_, outgrown_->next_retired);
      one.free(one);
    }
  }
  [[nodiscard]] std::size_t size() const noexcept { return live_; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    const storage* now = storage_.load(std::memory_order_relaxed);
    return now == nullptr ? 0 : (now->mask + 1) * sizeof(entry);
  }

 private:
  static std::size_t hash(std::uintptr_t key, unsigned shift) noexcept {
    return (key * 0x9e3779b97f4a7c15) >> shift;  // Fibonacci hashing
  }

  /// True if the key had no value before.
  bool place(storage& in, std::uintptr_t key, T* value) noexcept {
    for (std::size_t i = hash(key, in.shift);; ++i) {
      entry& e = in.entries[i & in.mask];
      const auto found = e.key.load(std::memory_order_relaxed);
      if (found != 0 && found != key) continue;
      const bool fresh = e.value.exchange(value, std::memory_order_acq_rel) == nullptr;
      if (found == 0) {
        e.key.store(key, std::memory_order_release);  // after the value: see find()
        ++used_;
      }
      return fresh;
    }
  }

  atomic<storage*> storage_{nullptr};
  epoch::retired* outgrown_ = nullptr;
  std::size_t used_ = 0;  // keys in the table, erased ones too
  std::size_t live_ = 0;
};

}  // namespace libprobe::site
