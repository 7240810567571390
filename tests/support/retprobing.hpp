// Retprobes that count: every entry must be matched by exactly one return or one unwind.
#pragma once

#include <atomic>

#include "support/probing.hpp"

namespace libprobe::test {

/// A retprobe with its counters, registered as long as it lives. Each instance carries a mark, set at entry
/// and cleared at the end of the call: an instance that ends twice, or with another call's data, is noticed.
class followed {
 public:
  explicit followed(location at, std::size_t maxactive = 0)
      : probe_{.at = std::move(at),
               .handler = on_return,
               .entry_handler = on_entry,
               .maxactive = maxactive,
               .data_size = sizeof(mark),
               .unwind_handler = on_unwind,
               .context = this} {
    EXPECT_FALSE(register_retprobe(probe_)) << last_error_detail();
  }
  ~followed() { EXPECT_EQ(wrong_, 0U); }

  retprobe& probe() { return probe_; }
  [[nodiscard]] std::uint64_t entries() const { return entries_; }
  [[nodiscard]] std::uint64_t returns() const { return returns_; }
  [[nodiscard]] std::uint64_t unwinds() const { return unwinds_; }
  [[nodiscard]] std::uint64_t missed() const { return nmissed(probe_); }
  [[nodiscard]] bool right() const { return hits(probe_) == entries_ && wrong_ == 0; }
  /// Nobody is inside, and nothing was lost.
  [[nodiscard]] bool balanced() const {
    return entries_ == returns_ + unwinds_ && hits(probe_) == entries_ && wrong_ == 0;
  }

 private:
  struct mark {
    followed* owner;
    std::uint64_t number;
  };

  static followed& of(retprobe_instance& i) { return *static_cast<followed*>(i.probe().context); }
  static int on_entry(retprobe_instance& i, registers&) {
    auto& data = i.data_as<mark>();
    if (data.owner != nullptr || data.number != 0) ++of(i).wrong_;
    data = {&of(i), ++of(i).entries_};
    return 0;
  }
  static void finish(retprobe_instance& i) {
    auto& data = i.data_as<mark>();
    if (data.owner != &of(i) || data.number == 0) ++of(i).wrong_;
    data.owner = nullptr;
  }
  static void on_return(retprobe_instance& i, registers&) {
    finish(i);
    ++of(i).returns_;
  }
  static void on_unwind(retprobe_instance& i) {
    finish(i);
    ++of(i).unwinds_;
  }

  std::atomic<std::uint64_t> entries_{0}, returns_{0}, unwinds_{0}, wrong_{0};
  retprobe probe_;  // last: removed before its counters go
};

}  // namespace libprobe::test
