// Holds the process's other threads for a moment, by a signal.
#pragma once

#include <signal.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace libprobe::os {

/// What glibc visits all threads with (its SIGSETXID): the program has no handler of its own there, cannot
/// block it nor wait for it by libc's functions, and as a real-time signal it takes no other one's place. gdb
/// passes it on in silence where it knows glibc's threads, as do lldb and strace.
inline constexpr int hold_signal = 33;

/// What a thread is asked, and answers.
struct hold_request {
  std::atomic<std::uint32_t> state{0};  // the hold's number: asked; one more: held
  int thread = 0;                       // the holder's
};

/// While it lives threads that run stand still, in the handler of that signal: but for those that have it
/// blocked, that do not answer in time (a debugger stops them), and beyond the first some thousand. Threads
/// that wait in the kernel are left alone, whose calls would end with EINTR, unless they are `at_stake` where
/// they are.
///
/// A thread may be held with any lock in its hand: neither allocate nor call libc before the end. One at a
/// time, which is the callers' to see to. libprobe_hold_entry must stand in the kernel as the signal's
/// handler.
class hold {
 public:
  explicit hold(bool (*at_stake)(std::uintptr_t ip)) noexcept;
  ~hold();
  hold(const hold&) = delete;
  hold& operator=(const hold&) = delete;

 private:
  struct looked {
    bool asked = false;    // some that had not been
    bool deaf = false;     // some have it blocked
    bool leaving = false;  // because they are not out of the last hold's handler yet
  };
  looked ask_threads(bool (*at_stake)(std::uintptr_t ip)) noexcept;
  std::span<hold_request> requests() const noexcept;
  std::span<hold_request> asked() const noexcept;
  bool is_asked(int thread) const noexcept;
  bool was_held(int thread) const noexcept;
  bool ask(int thread) noexcept;
  bool all_have_answered() const noexcept;
  void forget_ended_threads() noexcept;
  void wait_for_answers() noexcept;

  std::uint32_t number_;
  std::size_t count_ = 0;
};

// What a thread finds that is asked. Part of the hit path; see held.cpp.

inline constexpr std::size_t most_held = 4096;
extern constinit hold_request hold_requests[2 * most_held];  // of a hold, and of the last one
extern constinit std::atomic<std::uint32_t> hold_number;     // odd while there is one
extern constinit std::atomic<std::uint32_t> hold_answers;    // changes at each answer

/// That is what the signal is about.
bool asks_to_hold(const siginfo_t& info) noexcept;
/// In the signal's handler: returns when the hold is over. Afterwards no signal comes in before the handler's
/// return but what a sandbox sends, and SIGTRAP unless the thread has that `blocked` anyway.
void stay_held(const siginfo_t& info, std::uint64_t blocked) noexcept;

}  // namespace libprobe::os
