// What tests of jumps need: functions with chosen bytes, and threads in which a trap would be the end.
#pragma once

#include <pthread.h>

#include <csignal>

#include "arch/arch.hpp"
#include "support/probing.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::test {

/// While it lives a trap in this thread ends the program: the kernel delivers no blocked signal that the CPU
/// raised.
class no_trap_survives {
 public:
  no_trap_survives() {
    sigset_t traps;
    sigemptyset(&traps);
    sigaddset(&traps, SIGTRAP);
    sigaddset(&traps, SIGILL);
    pthread_sigmask(SIG_BLOCK, &traps, &before_);
  }
  ~no_trap_survives() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  no_trap_survives(const no_trap_survives&) = delete;
  no_trap_survives& operator=(const no_trap_survives&) = delete;

 private:
  sigset_t before_{};
};

/// A function's instructions, as they are now.
struct whole_function {
  const std::uint8_t* start = nullptr;
  std::size_t size = 0;
  std::vector<const std::uint8_t*> instructions;

  explicit whole_function(const void* entry) {
    const auto extent = symbols::function_at(reinterpret_cast<std::uintptr_t>(entry));
    EXPECT_TRUE(extent);
    if (!extent) return;
    start = reinterpret_cast<const std::uint8_t*>(extent->start);
    size = extent->end - extent->start;
    for (std::size_t at = 0; at < size;) {
      const auto here = arch::decode({start + at, size - at});
      if (!here) break;  // data behind the code
      instructions.push_back(start + at);
      at += here->length;
    }
  }
  [[nodiscard]] std::vector<std::uint8_t> text() const { return bytes_at(start, size); }
};

/// The only row at an address, or an empty one.
inline probe_row row_at(const void* address) {
  const auto rows = rows_at(address);
  return rows.empty() ? probe_row{} : rows.front();
}

}  // namespace libprobe::test
