#include "control/traced.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "arch/machine.hpp"
#include "control/engine.hpp"
#include "os/masks.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"
#include "os/tracer.hpp"
#include "site/thread.hpp"

namespace libprobe::control {

namespace {

constinit std::atomic<int> deaf{0};
constinit std::atomic<bool> quiet{false};

}  // namespace

int deaf_thread() noexcept { return deaf.load(std::memory_order_relaxed); }

bool unblock_trap() {
  std::uint64_t before = 0;
  os::change_mask(SIG_UNBLOCK, os::signal_bit(SIGTRAP), &before);
  auto& blocked = site::self.trap_blocked;
  blocked = blocked || (before & os::signal_bit(SIGTRAP)) != 0;
  const auto offset = reinterpret_cast<std::uintptr_t>(&blocked) - arch::thread_base();
  deaf.store(os::unblock_in_other_threads(SIGTRAP, static_cast<std::ptrdiff_t>(offset)),
             std::memory_order_relaxed);
  return deaf_thread() == 0;
}

std::string why_blocked() {
  return fmt::format("{} has SIGTRAP blocked, and {} that be changed", os::describe_thread(deaf_thread()),
                     os::is_traced() ? "a debugger does not let" : "the kernel does not let");
}

bool writes_avoid_traps() noexcept {
  return os::is_traced() || deaf_thread() != 0 || quiet.load(std::memory_order_relaxed);
}
bool traps_are_avoided() noexcept { return jumps_are_wanted() && (os::is_traced() || deaf_thread() != 0); }
quiet_writes::quiet_writes() noexcept { quiet.store(true, std::memory_order_relaxed); }
quiet_writes::~quiet_writes() { quiet.store(false, std::memory_order_relaxed); }

// NOLINTNEXTLINE(bugprone-exception-escape): as its declaration says
void tell_of_breakpoints(std::size_t breakpoints, std::size_t all) noexcept {
  static constinit std::atomic<bool> told{false};
  if (breakpoints == 0 || !os::is_traced() || told.exchange(true)) return;
  std::array<char, 400> text;
  const auto end = fmt::format_to_n(
      text.data(), text.size(),
      "libprobe: {} of {} probes registered here {} breakpoint{} (list_probes() tells why), and a debugger "
      "stops "
      "at each hit. In gdb: start, handle SIGTRAP nostop noprint pass, signal 0 (docs/debugging.md)\n",
      breakpoints, all, breakpoints == 1 ? "is a" : "are", breakpoints == 1 ? "" : "s");
  constexpr int standard_error = 2;
  os::raw::call(__NR_write, standard_error, text.data(), std::min(end.size, text.size()));
}

}  // namespace libprobe::control
