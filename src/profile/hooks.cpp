// What runs at every call: no lock, no allocation, no division, no atomic read-modify-write.
#include "profile/session.hpp"

namespace libprobe::profile {

namespace {

chosen& of(retprobe_instance& call) noexcept { return *static_cast<chosen*>(call.probe().context); }

// Every N-th call would keep step with the program's own loops: so 1 to 2 N - 1 calls, N on average.
std::uint32_t next_distance(buffer& mine, std::uint32_t every) noexcept {
  mine.random ^= mine.random << 13;
  mine.random ^= mine.random >> 7;
  mine.random ^= mine.random << 17;
  return 1 + static_cast<std::uint32_t>(((mine.random >> 32) * (2 * std::uint64_t{every} - 1)) >> 32);
}

// Counters of two CPUs may be some ticks apart.
std::uint64_t not_negative(std::uint64_t difference) noexcept {
  return static_cast<std::int64_t>(difference) < 0 ? 0 : difference;
}

void record_event(buffer& mine, const capacity& room, const frame& call, std::uint64_t duration) noexcept {
  if (room.events == 0) return;
  const auto at = mine.event_count.load(std::memory_order_relaxed);
  if (at == room.events) {
    mine.events_lost.add(1);
    return;
  }
  mine.events[at] = {call.start, duration, call.function, mine.owner.load(std::memory_order_relaxed)};
  mine.event_count.store(at + 1, std::memory_order_release);
}

// A call's time.
void account(buffer& mine, const capacity& room, std::uint64_t depth, std::uint64_t now) noexcept {
  const frame& call = mine.frames[depth];
  const auto duration = not_negative(now - call.start);
  // Taking stacks of what it called is not its time.
  const auto elapsed = not_negative(duration - (mine.paused - call.paused));
  if (depth != 0) mine.frames[depth - 1].children += elapsed;
  node& place = mine.nodes[call.node];
  place.total.add(elapsed);
  place.self.add(not_negative(elapsed - call.children));
  mine.latencies[call.function * buckets::count + buckets::of(elapsed)].add(1);
  record_event(mine, room, call, duration);
}

// Calls on other stacks of the thread may lie above one that ends, and end later.
void trim(buffer& mine) noexcept {
  while (mine.depth != 0 && mine.frames[mine.depth - 1].call.load(std::memory_order_acquire) == nullptr)
    --mine.depth;
}

// The calling thread's; null where the call has ended in another one than it began in, or began in another
// run.
buffer* end(retprobe_instance& call, session& shared, std::uint64_t now) noexcept {
  const auto [where, depth] = call.data_as<mark>();
  const void* expected = &call;
  if (where != shared.mine()) {
    // Pairs with trim(), by the thread that has the frame.
    where->frames[depth].call.compare_exchange_strong(expected, nullptr, std::memory_order_acq_rel);
    return nullptr;
  }
  auto& mine = *where;
  if (depth >= mine.depth || mine.frames[depth].call.load(std::memory_order_relaxed) != expected)
    return nullptr;
  account(mine, shared.room, depth, now);
  mine.frames[depth].call.store(nullptr, std::memory_order_relaxed);
  trim(mine);
  return &mine;
}

}  // namespace

int entered(retprobe_instance& call, registers& regs) noexcept {
  const chosen& function = of(call);
  session& shared = *function.owner;
  buffer* const mine = shared.mine();
  if (mine == nullptr) {
    shared.without_buffer.fetch_add(1, std::memory_order_relaxed);
    return 1;
  }
  const auto session_number = shared.number.load(std::memory_order_relaxed);
  if (mine->session != session_number) mine->begin(session_number);
  trim(*mine);
  const auto depth = mine->depth;
  const auto parent = depth == 0 ? buffer::root : mine->frames[depth - 1].node;
  const auto place = mine->child(parent, function.number, shared.room);
  mine->nodes[place].calls.add(1);
  if (place <= shared.room.functions) mine->unplaced.add(1);  // a spare one
  if (depth == capacity::frames) {
    mine->untimed.add(1);
    return 1;
  }
  frame& top = mine->frames[depth];
  top.call.store(&call, std::memory_order_relaxed);
  top.children = 0;
  top.node = place;
  top.function = function.number;
  top.sampled = false;
  if (shared.sample_every != 0 && --mine->until_sample == 0) {
    mine->until_sample = next_distance(*mine, shared.sample_every);
    top.sampled = true;
    top.value = shared.value == nullptr ? 0 : shared.value(function.function, regs);
  }
  call.data_as<mark>() = {mine, depth};
  mine->depth = depth + 1;
  top.paused = mine->paused;
  top.start = shared.timer.now();
  return 0;
}

void returned(retprobe_instance& call, registers& /*regs*/) noexcept {
  session& shared = *of(call).owner;
  const auto now = shared.timer.now();
  buffer* const mine = end(call, shared, now);
  if (mine == nullptr) {
    if (buffer* const here = shared.mine()) here->untimed.add(1);
    return;
  }
  const frame& ended = mine->frames[call.data_as<mark>().depth];
  if (!ended.sampled) return;
  take_stack(*mine, shared.room, ended, call.return_address());
  mine->paused += shared.timer.now() - now;
}

void unwound(retprobe_instance& call) noexcept {
  const chosen& function = of(call);
  session& shared = *function.owner;
  if (buffer* const mine = end(call, shared, shared.timer.now())) {
    mine->nodes[mine->frames[call.data_as<mark>().depth].node].unwound.add(1);
  } else if (buffer* const here = shared.mine()) {
    here->untimed.add(1);
    here->nodes[here->child(buffer::root, function.number, shared.room)].unwound.add(1);
  }
}

}  // namespace libprobe::profile
