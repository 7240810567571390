// The CPU counts for itself: how often each instruction of a piece of work is executed, by the trap flag
// alone.
#pragma once

#include <cstdint>
#include <functional>
#include <unordered_map>

namespace stepping {

/// By address. Uses SIGTRAP, so call it before the first probe is registered. A trap costs some microseconds.
/// The instruction behind a syscall may be left out: the CPU's trap comes one late there.
std::unordered_map<std::uintptr_t, std::uint64_t> executions_of(const std::function<void()>& work);

}  // namespace stepping
