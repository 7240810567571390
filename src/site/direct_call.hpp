// A replacement that a detour calls with nothing of ours in between.
#pragma once

#include <cstddef>
#include <cstdint>

#include "arch/call.hpp"
#include "arch/machine.hpp"
#include "site/thread.hpp"

namespace libprobe::site {

struct attachment;

/// What arch's code for it needs to know: of a replacement that takes no argument on the stack, and leaves
/// the x87 alone. Part of its attachment.
struct direct_call {
  const void* entry = nullptr;
  std::uint64_t *hits = nullptr, *begun = nullptr, *ended = nullptr;  // columns: see counter
  attachment* what = nullptr;
  std::uint32_t result = 0;  // a result_registers
  std::uint32_t level = 0;   // of the vector registers that have to be kept, a vector_use::level
  std::uint32_t keeps = 1;   // 0: callers keep nothing in registers that a call may clobber
};
// Which arch's code reads as one word.
static_assert(offsetof(direct_call, level) == offsetof(direct_call, result) + sizeof(std::uint32_t));

/// Where that code finds the thread's state. Before the first one.
inline void prepare_direct_calls() noexcept {
  const auto distance = [](const void* variable) {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(variable) - arch::thread_base());
  };
  static_assert(offsetof(thread_state, in_handler) % sizeof(std::uint64_t) == 0 &&
                offsetof(thread_state, may_have_guest) / sizeof(std::uint64_t) ==
                    offsetof(thread_state, in_handler) / sizeof(std::uint64_t));
  static_assert(offsetof(replacement_run, what) == 0 &&
                offsetof(replacement_run, outer) == sizeof(void*));  // it pushes them
  libprobe_direct_words = {distance(&epoch::detail::self), distance(&epoch::row_of_thread),
                           distance(&self.in_handler), distance(&self.replacement), &epoch::detail::current};
}

}  // namespace libprobe::site
