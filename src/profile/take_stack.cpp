// Whole stacks by libgcc's unwinder, which every C++ program has. Not by libunwind: linked, it would take the
// place of libgcc's own _Unwind_* functions in the program and break its exceptions, and it blocks signals
// and takes the loader's lock where a breakpoint may be hit. libgcc looks up frames without a lock.
#include <unwind.h>

#include "profile/session.hpp"

namespace libprobe::profile {

namespace {

struct walk {
  std::uintptr_t from = 0;  // what is inside of it is libprobe's own
  bool begun = false;
  std::uint32_t depth = 0;
  std::uintptr_t addresses[capacity::sample_depth];
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* into) {
  auto& so_far = *static_cast<walk*>(into);
  const std::uintptr_t ip = _Unwind_GetIP(context);
  so_far.begun = so_far.begun || ip == so_far.from;
  if (ip == 0 || so_far.depth == capacity::sample_depth) return _URC_END_OF_STACK;
  // A return address may be the first of the next function: the call is before it.
  if (so_far.begun) so_far.addresses[so_far.depth++] = ip - 1;
  return _URC_NO_REASON;
}

std::uint32_t chain_of(std::uint32_t function, const walk& stack) noexcept {
  std::uint64_t mixed = function;
  for (std::uint32_t i = 0; i < stack.depth; ++i) mixed = (mixed ^ stack.addresses[i]) * 0x9e3779b97f4a7c15U;
  return static_cast<std::uint32_t>(mixed >> 40) % capacity::chains;
}

bool is(const buffer& mine, const sample& known, std::uint32_t function, const walk& stack) noexcept {
  if (known.function != function || known.depth != stack.depth) return false;
  for (std::uint32_t i = 0; i < stack.depth; ++i) {
    if (mine.addresses[known.first + i] != stack.addresses[i]) return false;
  }
  return true;
}

sample* find_or_make(buffer& mine, const capacity& room, std::uint32_t function, const walk& stack) noexcept {
  auto& chain = mine.sample_chains[chain_of(function, stack)];
  for (auto at = chain; at != 0; at = mine.samples[at - 1].next_in_chain) {
    if (is(mine, mine.samples[at - 1], function, stack)) return &mine.samples[at - 1];
  }
  const auto fresh = mine.sample_count.load(std::memory_order_relaxed);
  if (fresh == room.samples || capacity::addresses - mine.address_count < stack.depth) return nullptr;
  sample& one = mine.samples[fresh];
  one.function = function;
  one.first = mine.address_count;
  one.depth = stack.depth;
  one.next_in_chain = chain;
  for (std::uint32_t i = 0; i < stack.depth; ++i) mine.addresses[mine.address_count++] = stack.addresses[i];
  chain = fresh + 1;
  mine.sample_count.store(fresh + 1, std::memory_order_release);
  return &one;
}

}  // namespace

void take_stack(buffer& into, const capacity& room, const frame& of, const void* return_address) noexcept {
  walk stack;
  stack.from = reinterpret_cast<std::uintptr_t>(return_address);
  _Unwind_Backtrace(step, &stack);
  sample* const one = stack.depth == 0 ? nullptr : find_or_make(into, room, of.function, stack);
  if (one == nullptr) {
    into.samples_lost.add(1);
    return;
  }
  one->calls.add(1);
  one->value.add(of.value);
}

void prepare_unwinder() noexcept {
  walk ignored;
  _Unwind_Backtrace(step, &ignored);
}

}  // namespace libprobe::profile
