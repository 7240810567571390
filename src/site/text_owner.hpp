// Who writes text: control, or for a moment a hit that retreats.
#pragma once

#include <cstdint>

#include "arch/machine.hpp"
#include "os/atomic.hpp"

namespace libprobe::site {

/// Odd while text is being written, and different after: whoever finds neither a site nor restored text in
/// between looks again.
extern constinit atomic<std::uint64_t> text_version;

/// The right to write text and to change what sites say of theirs, for as long as it lives.
class text_owner {
 public:
  enum only_if { if_free };

  /// Control: waits for a hit that has it, which takes microseconds. Not inside another one of the same
  /// thread.
  text_owner() noexcept {
    while (!take()) arch::cpu_relax();
  }
  /// A hit never waits: the thread that it interrupted may be the owner.
  explicit text_owner(only_if) noexcept : mine_{take()} {}
  ~text_owner() {
    if (mine_) give();
  }
  text_owner(const text_owner&) = delete;
  text_owner& operator=(const text_owner&) = delete;
  explicit operator bool() const noexcept { return mine_; }

  // What a fork does, which begins here and ends in two processes.
  static bool take() noexcept {
    auto version = text_version.load(std::memory_order_relaxed);
    return (version & 1) == 0 &&
           text_version.compare_exchange_strong(version, version + 1, std::memory_order_acq_rel);
  }
  static void give() noexcept { text_version.fetch_add(1, std::memory_order_acq_rel); }

 private:
  bool mine_ = true;
};

/// What a trap that no table knows asks: was it ours until just now?
class text_watch {
 public:
  /// Before the tables are looked at.
  text_watch() noexcept : version_{text_version.load(std::memory_order_acquire)} {}

  /// Text was being written then, or has been since. After the tables, and the text itself, were looked at.
  [[nodiscard]] bool changed() const noexcept {
    // Pairs with take(): whoever has seen the text of a later change sees its number, too.
    thread_fence(std::memory_order_acquire);
    return (version_ & 1) != 0 || text_version.load(std::memory_order_relaxed) != version_;
  }

 private:
  std::uint64_t version_;
};

}  // namespace libprobe::site
