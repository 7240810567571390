// Part of the hit path: raw system calls only.
#include "os/hold.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

constinit hold_request hold_requests[2 * most_held];
constinit std::atomic<std::uint32_t> hold_number{0};
constinit std::atomic<std::uint32_t> hold_answers{0};

namespace {

const std::uint32_t* word(const std::atomic<std::uint32_t>& value) noexcept {
  return reinterpret_cast<const std::uint32_t*>(&value);
}

}  // namespace

bool asks_to_hold(const siginfo_t& info) noexcept {
  if (info.si_code != SI_QUEUE) return false;
  const auto offset = reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr) -
                      reinterpret_cast<std::uintptr_t>(&hold_requests[0]);
  return offset < sizeof hold_requests && offset % sizeof(hold_request) == 0;
}

void stay_held(const siginfo_t& info, std::uint64_t blocked) noexcept {
  // The program's handlers would run the program's code. A debugger that steps traps all the same, and the
  // kernel takes away the handler of a blocked trap. Whoever has that blocked must be seen to have it here,
  // too: to the next registration the thread would seem to bear breakpoints (os/masks.hpp).
  change_mask(SIG_SETMASK, every_signal & (blocked | ~signal_bit(SIGTRAP)));
  auto& mine = *static_cast<hold_request*>(info.si_value.sival_ptr);
  const auto number = static_cast<std::uint32_t>(info.si_errno);
  auto asked = number;
  // Too late, and the place is another one's already? Pairs with hold::all_have_answered().
  if (!mine.state.compare_exchange_strong(asked, number + 1, std::memory_order_release)) return;
  hold_answers.fetch_add(1, std::memory_order_release);
  raw::wake_one(word(hold_answers));
  // Pairs with the end of the hold: what was written meanwhile is seen.
  while (hold_number.load(std::memory_order_acquire) == number) raw::wait(word(hold_number), number);
}

}  // namespace libprobe::os
