// What has been taken out of all that a reader may find, and is freed when none can hold it any more.
#pragma once

#include "epoch/epoch.hpp"

namespace libprobe::epoch {

/// The part of such an object that its waiting needs. Its owner says how it is freed.
struct retired {
  retired* next_retired = nullptr;
  ticket covered_by = 0;  // 0: of no ticket yet
  void (*free)(retired&) noexcept = nullptr;
};

/// The only place that frees: each object carries the ticket of the grace period that covers it, and goes
/// when that one is complete, whoever waits, commits, tidies or forks. Not locked: its owner's lock is held
/// in all calls. Allocates nothing.
class retirement {
 public:
  constexpr retirement() = default;
  retirement(const retirement&) = delete;
  retirement& operator=(const retirement&) = delete;

  /// No reader that begins from now on can find it. It is the retirement's.
  void add(retired& what) noexcept {
    what.next_retired = nullptr;
    what.covered_by = 0;
    (last_ != nullptr ? last_->next_retired : first_) = &what;
    last_ = &what;
    if (uncovered_ == nullptr) uncovered_ = &what;
  }
  /// The ticket that covers all of them.
  ticket seal() noexcept {
    if (uncovered_ != nullptr) {
      newest_ = take_ticket();
      for (; uncovered_ != nullptr; uncovered_ = uncovered_->next_retired) uncovered_->covered_by = newest_;
    }
    return newest_;
  }
  /// Those whose ticket is complete. What frees one may add others.
  void free_complete() noexcept {
    while (first_ != nullptr && first_->covered_by != 0 && is_complete(first_->covered_by)) {
      retired& what = *first_;
      first_ = what.next_retired;
      if (first_ == nullptr) last_ = nullptr;
      what.free(what);
    }
  }
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

  template <class F>
  void for_each(F&& visit) const {
    for (auto* one = first_; one != nullptr; one = one->next_retired) visit(*one);
  }

 private:
  retired* first_ = nullptr;  // in the order of their tickets
  retired* last_ = nullptr;
  retired* uncovered_ = nullptr;  // the first that has none yet
  ticket newest_ = 0;
};

}  // namespace libprobe::epoch
