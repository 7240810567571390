// Where breakpoints of ours stood that threads may still be on their way from, held up by a debugger.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace libprobe::site {

/// gdb (13, infrun.c: handle_signal_stop) moves a thread that has met a breakpoint back to it, and forward
/// again before it passes on the SIGTRAP; but not forward if by then other text stands there. Who is told of
/// such a trap finds the address here. Remembers most of the latest; signal-safe.
class past_breakpoints {
 public:
  void add(std::uintptr_t address) noexcept {
    places_[place_of(address)].store(address, std::memory_order_relaxed);
  }
  [[nodiscard]] bool has(std::uintptr_t address) const noexcept {
    return places_[place_of(address)].load(std::memory_order_relaxed) == address;
  }

 private:
  static constexpr std::size_t size = 1U << 16;  // no memory until they are written
  static std::size_t place_of(std::uintptr_t address) noexcept { return address % size; }
  std::array<std::atomic<std::uintptr_t>, size> places_{};
};

extern constinit past_breakpoints past;

}  // namespace libprobe::site
