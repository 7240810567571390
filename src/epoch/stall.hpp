// A wait that takes long says for whom.
#pragma once

#include <atomic>
#include <cstdint>

namespace libprobe::epoch {

/// One wait's. When it has taken longer than set_patience() allows it writes a line to standard error, once.
/// Any thread; one system call a look.
class stall_watch {
 public:
  /// Still waiting for the section of this thread; 0: of one that has no number.
  void look(int thread) noexcept;
  /// Still waiting for calls of what was put in the place of the function at this address.
  void look_at_calls(std::uintptr_t function) noexcept;

 private:
  bool is_time() noexcept;

  std::int64_t since_ = 0;  // seconds of the monotonic clock; 0: has not looked yet
  bool told_ = false;
};

}  // namespace libprobe::epoch
