// Part of the hit path.
#include "site/guest_runs.hpp"

#include "os/process.hpp"
#include "os/signals.hpp"
#include "site/site.hpp"

namespace libprobe::site {

namespace {

/// What is begun beyond them is never known to be over: its removal waits.
constexpr std::size_t most_guest_runs = 64;
constexpr int being_written = -1;

struct guest_run {
  // Low half: the guest's process; 0: free. High half: how often that has changed, as in
  // followed_call::owner.
  std::atomic<std::uint64_t> guest{0};
  // Not changed as long as that is somebody's:
  std::atomic<int> thread{0};
  std::atomic<attachment*> what{nullptr};
};
constinit guest_run runs[most_guest_runs];

int process_in(std::uint64_t guest) noexcept { return static_cast<int>(guest); }

/// The first that `is_one` says yes to: the caller's, who alone ends it. Null: there is none.
template <class F>
attachment* take_off(F&& is_one) noexcept {
  for (auto& run : runs) {
    auto guest = run.guest.load(std::memory_order_acquire);  // pairs with note_guest_run()
    if (process_in(guest) <= 0 || !is_one(run, process_in(guest))) continue;
    auto* const what = run.what.load(std::memory_order_relaxed);
    if (run.guest.compare_exchange_strong(guest, handed_on(guest, 0), std::memory_order_acq_rel)) return what;
  }
  return nullptr;
}

template <class F>
void end_all(F&& is_one) noexcept {
  while (auto* const what = take_off(is_one)) {
    std::atomic_thread_fence(std::memory_order_release);  // pairs with is_running()
    what->ended.add(1);
  }
}

}  // namespace

void note_guest_run(replacement_run& run) noexcept {
  self.guest_replacement = &run;
  for (auto& free : runs) {
    auto guest = free.guest.load(std::memory_order_relaxed);
    if (process_in(guest) != 0) continue;
    const auto mine = handed_on(guest, being_written);
    if (!free.guest.compare_exchange_strong(guest, mine, std::memory_order_acquire)) continue;
    free.thread.store(epoch::thread_number(), std::memory_order_relaxed);
    free.what.store(run.what, std::memory_order_relaxed);
    free.guest.store(handed_on(mine, os::process_id()), std::memory_order_release);  // pairs with take_off()
    return;
  }
}

void forget_guest_run(const replacement_run& run) noexcept {
  self.guest_replacement = run.outer != self.lent_replacement ? run.outer : nullptr;
  const int me = os::process_id();
  take_off([&](const guest_run& one, int process) {
    return process == me && one.what.load(std::memory_order_relaxed) == run.what;
  });
}

bool may_be_guest() noexcept {
  if (!self.may_have_guest || !os::is_guest()) return false;
  // What forked, where libc did not know?
  return !os::was_copied() || os::parent_process() != os::home_process();
}

void end_guest_runs() noexcept {
  if (!self.may_have_guest || may_be_guest()) return;
  // Where the thread has ended a run since, its list does not lead to what guests have left there.
  if (self.guest_replacement != nullptr && self.replacement == self.guest_replacement)
    self.replacement = self.lent_replacement;
  self.guest_replacement = nullptr;
  const int me = epoch::thread_number();
  end_all([me](const guest_run& one, int) { return one.thread.load(std::memory_order_relaxed) == me; });
}

void end_runs_of_gone_guests() noexcept {
  end_all([](const guest_run&, int process) { return !os::may_share_memory(process); });
}

void forget_guests(bool was_guest) noexcept {
  for (auto& run : runs) run.guest.store(0, std::memory_order_relaxed);
  self.guest_replacement = nullptr;
  if (!was_guest) return;
  for (auto& call : used_calls()) {
    if (call.place.load(std::memory_order_relaxed) == call_place::in_guest)
      call.place.store(call_place::elsewhere, std::memory_order_relaxed);
  }
  self.spare_count = 0;
  self.may_have_guest = false;
}

}  // namespace libprobe::site
