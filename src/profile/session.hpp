// Profiles: many functions under probes, their calls in buffers of each thread's own, reports and pictures of
// them. This header: what the hooks of one profiler share, set before the first hit and then only read, but
// for the number of the run, the list of buffers, and the count of calls without one.
//
// Floor: on the public headers alone, as a user's program. Words: a *session* is what a profiler shares with
// its hooks, for its whole life; a *run*, from start() to stop(); a *buffer*, what one thread records for one
// session, handed on when the thread has ended; a *frame*, a call in it that has not ended; *self* time, less
// that of calls inside.
#pragma once

#include <libprobe/functions.hpp>
#include <libprobe/retprobe.hpp>

#include "profile/buffer.hpp"
#include "profile/clock.hpp"

namespace libprobe::profile {

struct session;

/// A function under its probe; reached from the probe by its context.
struct chosen {
  session* owner = nullptr;
  std::uint32_t number = 0;
  function_info function;
};

struct session {
  explicit session(const clock& by) : timer{by} {}

  const clock timer;
  std::uint64_t id = 0;  // of the profiler; none is used twice in a process
  capacity room;
  std::uint32_t sample_every = 0;
  std::uint64_t (*value)(const function_info&, const registers&) = nullptr;
  std::atomic<std::uint64_t> number{0};  // of this run between start and stop
  std::atomic<buffer*> buffers{nullptr};
  std::atomic<std::uint64_t> without_buffer{0};  // calls

  /// Once, before the first hit.
  static void prepare_fork();
  /// The calling thread's buffer; null if there is no memory for one. Signal-safe.
  buffer* mine() noexcept;

 private:
  buffer* claim() noexcept;
};

/// The handlers; `context` of their probes is a chosen.
int entered(retprobe_instance& call, registers& regs) noexcept;
void returned(retprobe_instance& call, registers& regs) noexcept;
void unwound(retprobe_instance& call) noexcept;

/// What a call keeps from its entry to its end.
struct mark {
  buffer* where;
  std::uint64_t depth;
};

/// Adds the calling thread's stack, from the place that the call returned to. In a return handler: there
/// unwinders see the program's own frames.
void take_stack(buffer& into, const capacity& room, const frame& of, const void* return_address) noexcept;
/// Lets the unwinder make its tables, outside of handlers.
void prepare_unwinder() noexcept;

}  // namespace libprobe::profile
