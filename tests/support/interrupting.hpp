// Signals at every instruction of a piece of work: another process steps through it by ptrace, and sends
// them.
#pragma once

#include <cstdint>
#include <functional>

namespace interrupting {

/// Where the work begins and ends, and at which of the instructions in between a signal shall come.
struct plan {
  std::uintptr_t begin = 0, end = 0;
  int signo = 0;
  /// Called in the tracer with the instruction pointer, once for each step.
  std::function<bool(std::uintptr_t ip)> wanted;
};

/// In the child: a round of work comes now, which passes `begin` and `end`.
void next_round();
/// In the child, at the end of the handler of `signo`.
void handler_ends();

/// Runs `body` in a forked child, which calls next_round() for each round, and `after_round` (in the tracer)
/// behind each. `round`: says what to do in the n-th. The child's exit code, 128 + the signal that killed it,
/// or -1 if it did not come back from a handler to where it was and `must_come_back`.
int run(const std::function<int()>& body, const std::function<plan(int)>& round,
        const std::function<void(int)>& after_round, bool must_come_back = true);

}  // namespace interrupting
