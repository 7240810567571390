// The other threads of the process, as /proc shows them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace libprobe::os {

/// A thread that is blocked in the kernel.
struct parked_thread {
  int id = 0;
  std::uintptr_t ip = 0;
  std::uintptr_t sp = 0;
  std::uint64_t switches = 0;  // how often it was switched away from, ever: grows when it runs in between

  bool operator==(const parked_thread&) const = default;
};

/// True for memory on the calling thread's stack, unless that is the process's first thread. In a forked
/// child it may become the stack of another thread.
bool is_on_own_stack(const void* memory);

/// All threads but the calling one, in order of number. Nothing if one of them is running, or cannot be
/// looked at
/// (/proc is missing or kept from us). Blocks, allocates.
std::optional<std::vector<parked_thread>> parked_threads();

}  // namespace libprobe::os
