// What the epoch's sources ask of the rest of the library, as the model has it; and those sources themselves.
#pragma once

#include <array>
#include <memory>

#include "arch/arch.hpp"
#include "epoch/backoff.hpp"
#include "epoch/retirement.hpp"
#include "epoch/stall.hpp"
#include "interleavings/model.hpp"
#include "os/atomic.hpp"
#include "os/barrier.hpp"
#include "os/process.hpp"
#include "os/signal_stack.hpp"
#include "os/signals.hpp"

namespace world {

/// Threads of the system, by number.
struct system_threads {
  std::array<libprobe::atomic<bool>, 10> lives{};
  std::array<int, model::most_threads> number{1, 2, 3, 4, 5, 6};  // of the model's threads
};
inline system_threads* threads = nullptr;
inline bool asymmetric = true;

}  // namespace world

namespace libprobe::os {

void prepare_barriers() noexcept {}
bool barriers_are_asymmetric() noexcept { return world::asymmetric; }
void heavy_barrier() noexcept {
  if (world::asymmetric) {
    model::barrier_everywhere();
  } else {
    model::fence(model::order::seq_cst);
  }
}
int thread_id() noexcept { return model::self() < 0 ? 9 : world::threads->number[model::self()]; }
int process_id() noexcept { return 9; }
/// The kernel's answer: ordered, as its locks are.
bool thread_exists(int thread) noexcept {
  return world::threads->lives[thread].load(std::memory_order_acquire);
}
bool is_guest() noexcept { return false; }
int home_process() noexcept { return 9; }
bool on_signal_stack(std::uintptr_t) noexcept { return false; }

}  // namespace libprobe::os

namespace libprobe::arch {
bool guarded_load(std::uintptr_t, std::uint64_t&) noexcept { return false; }
long system_call(long, long, long, long, long, long, long) noexcept { return -1; }
}  // namespace libprobe::arch

namespace libprobe::epoch {
void stall_watch::look(int) noexcept {}
}  // namespace libprobe::epoch

#include "epoch/grace_period.cpp"
#include "epoch/reader.cpp"

namespace world {

/// The static variables of those sources that are not atomics, as they are when a program begins.
inline void begin() {
  using namespace libprobe;
  for (int t : threads->number) threads->lives[t].store(true);
  epoch::drain.turned = false;
  epoch::drain.turned_at = 0;
  epoch::prepare();
  model::name(&epoch::detail::current, "current");
  model::name(&epoch::detail::phase, "phase");
  model::name(&epoch::detail::unrecorded[0], "unrecorded[0]");
  model::name(&epoch::detail::unrecorded[1], "unrecorded[1]");
  model::name(&epoch::detail::readers_pay, "readers_pay");
  model::name(&epoch::detail::records_used, "records_used");
  model::name(&epoch::newest_complete, "newest_complete");
  model::name(&epoch::drain.newest, "drain.newest");
  model::name(&epoch::drain.busy, "drain.busy");
  for (std::size_t i = 0; i < epoch::detail::record_count; ++i) {
    const auto number = std::to_string(i);
    model::name(&epoch::detail::records[i].since, "records[" + number + "].since");
    model::name(&epoch::detail::records[i].owner, "records[" + number + "].owner");
    model::name(&epoch::detail::records[i].where, "records[" + number + "].where");
  }
}

/// The record was claimed by the calling thread some time ago.
inline void has_record(int which) {
  libprobe::epoch::detail::self = &libprobe::epoch::detail::records[which];
  libprobe::epoch::row_of_thread = 4096;
}
inline void claimed(int which, int by) {
  libprobe::epoch::detail::records[which].owner.store(libprobe::epoch::detail::handed_on(0, by));
  if (libprobe::epoch::detail::records_used.load() <= static_cast<std::size_t>(which))
    libprobe::epoch::detail::records_used.store(static_cast<std::size_t>(which) + 1);
}
}  // namespace world
