// Signal handlers without libc in between: neither its wrappers nor a sanitizer's or the program's
// interposers.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>

namespace libprobe::os {

/// The kernel's own struct sigaction (asm-generic/signal.h).
struct signal_action {
  void (*handler)(int, siginfo_t*, void*) = nullptr;
  unsigned long flags = 0;
  void (*restorer)() = nullptr;
  std::uint64_t mask = 0;

  [[nodiscard]] bool is_default() const noexcept {
    return number() == reinterpret_cast<std::uintptr_t>(SIG_DFL);
  }
  [[nodiscard]] bool is_ignored() const noexcept {
    return number() == reinterpret_cast<std::uintptr_t>(SIG_IGN);
  }
  [[nodiscard]] std::uintptr_t number() const noexcept { return reinterpret_cast<std::uintptr_t>(handler); }
};

/// A signal in a mask.
constexpr std::uint64_t signal_bit(int signo) noexcept { return std::uint64_t{1} << (signo - 1); }

/// Signal-safe. `next` or `previous` may be null. False if the kernel refuses.
bool change_action(int signo, const signal_action* next, signal_action* previous) noexcept;

/// All signals that may be blocked for a moment: a sandbox that answers system calls by SIGSYS kills where
/// that is blocked.
inline constexpr std::uint64_t every_signal = ~signal_bit(SIGSYS);

/// Changes the calling thread's mask (SIG_BLOCK, SIG_UNBLOCK, SIG_SETMASK). `before` may be null.
/// Signal-safe.
void change_mask(int how, std::uint64_t mask, std::uint64_t* before = nullptr) noexcept;

/// The mask that the return from a signal brings back: in its frame one word is the kernel's, whatever libc's
/// type has room for. Signal-safe.
inline std::uint64_t mask_of(const ucontext_t& frame) noexcept {
  std::uint64_t mask = 0;
  std::memcpy(&mask, &frame.uc_sigmask, sizeof mask);
  return mask;
}
inline void set_mask(ucontext_t& frame, std::uint64_t mask) noexcept {
  std::memcpy(&frame.uc_sigmask, &mask, sizeof mask);
}

/// Sends the calling thread a signal. Signal-safe.
void raise_here(int signo) noexcept;
/// Sends it again, as it was. Signal-safe.
void send_here(int signo, const siginfo_t& info) noexcept;

/// Blocks on nothing, allocates nothing: the numbers of the calling process, the one that made it, and the
/// calling thread. Signal-safe.
int process_id() noexcept;
int parent_process() noexcept;
int thread_id() noexcept;
/// False once that thread of the process that this memory belongs to has ended. Signal-safe.
bool thread_exists(int thread) noexcept;

}  // namespace libprobe::os
