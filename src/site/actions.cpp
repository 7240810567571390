#include "site/actions.hpp"

#include "arch/machine.hpp"
#include "arch/trap.hpp"
#include "os/hold.hpp"

namespace libprobe::site {

constinit believed_action actions[last_signal + 1];

namespace {

constexpr unsigned long restorer_flag = 0x04000000;  // SA_RESTORER, asm/signal.h
constinit std::atomic<bool> changing{false};

template <class To, class From>
To* pointer(From value) noexcept {
  return reinterpret_cast<To*>(static_cast<std::uintptr_t>(value));
}

}  // namespace

os::signal_action believed_action::load() const noexcept {
  for (;; arch::cpu_relax()) {
    const auto version = version_.load(std::memory_order_acquire);
    std::uint64_t words[4];
    for (int i = 0; i < 4; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the release fence of store()
    if ((version & 1) != 0 || version_.load(std::memory_order_relaxed) != version) continue;
    return {pointer<void(int, siginfo_t*, void*)>(words[0]), words[1], pointer<void()>(words[2]), words[3]};
  }
}

void believed_action::store(const os::signal_action& to) noexcept {
  const auto version = version_.load(std::memory_order_relaxed);
  version_.store(version + 1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);  // pairs with the acquire fence of load()
  words_[0].store(to.number(), std::memory_order_relaxed);
  words_[1].store(to.flags, std::memory_order_relaxed);
  words_[2].store(reinterpret_cast<std::uintptr_t>(to.restorer), std::memory_order_relaxed);
  words_[3].store(to.mask, std::memory_order_relaxed);
  version_.store(version + 2, std::memory_order_release);  // pairs with the acquire load of load()
}

action_change::action_change() noexcept : mask_{0} {
  os::change_mask(SIG_SETMASK, os::every_signal, &mask_);
  while (changing.exchange(true, std::memory_order_acquire)) arch::cpu_relax();  // pairs with the destructor
}
action_change::~action_change() {
  changing.store(false, std::memory_order_release);
  os::change_mask(SIG_SETMASK, mask_);
}
void action_change::after_fork_in_child() noexcept { changing.store(false, std::memory_order_relaxed); }

os::signal_action kernel_action(int signo, const os::signal_action& wanted) noexcept {
  auto ours = wanted;
  if (signo == SIGTRAP) {
    // The mask is left alone, so that nothing has to restore it; a hit inside a handler traps again.
    ours.handler = libprobe_trap_entry;
    ours.flags = SA_SIGINFO | SA_NODEFER | restorer_flag;
    ours.mask = 0;
    ours.restorer = libprobe_restorer;
  } else if (raised_by_probes(signo)) {
    ours.handler = libprobe_fault_entry;
    ours.flags = SA_SIGINFO | restorer_flag | (wanted.flags & (SA_ONSTACK | SA_NODEFER | SA_RESTART));
    ours.restorer = libprobe_restorer;
  } else if (signo == os::hold_signal) {
    // A held thread's calls go on where they can, and it may be on any stack.
    ours.handler = libprobe_hold_entry;
    ours.flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | restorer_flag | (wanted.flags & SA_NODEFER);
    ours.restorer = libprobe_restorer;
  } else if (!wanted.is_default() && !wanted.is_ignored()) {
    ours.handler = libprobe_signal_entry;
    ours.flags |= SA_SIGINFO;
  }
  ours.mask &= ~os::signal_bit(SIGTRAP);
  return ours;
}

}  // namespace libprobe::site
