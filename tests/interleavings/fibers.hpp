// Threads of a model: fibers of one thread, each with its own stack, thread-local variables and memory.
#pragma once

#include <functional>

namespace model {

/// Fiber `number` will run `work` when it is switched to for the first time. The work ends by switching away
/// for good.
void fiber_make(int number, std::function<void()> work);
/// From a fiber to another one; -1: fiber_run().
void fiber_switch(int from, int to);
/// Calls `work`, which may switch to fibers and come back. 0: it returned; else the code that abandon() was
/// given.
int fiber_run(const std::function<void()>& work);
/// Leaves the running fiber, and all others, where they are.
[[noreturn]] void abandon(int code);

/// What is allocated now is the fibers': all of it goes at once, in fiber_forget_memory(), and what they free
/// stays till then. Returns what it was.
bool fiber_own_memory(bool own) noexcept;
void fiber_forget_memory() noexcept;

}  // namespace model
