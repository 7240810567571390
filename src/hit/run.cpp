#include "hit/run.hpp"

#include <errno.h>

#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

/// A handler is running: further hits of this thread run none. errno is the program's.
class in_handler {
 public:
  in_handler() noexcept {
    ++site::self.in_handler;
    std::atomic_signal_fence(
        std::memory_order_seq_cst);  // before the call below, which somebody may have probed
    errno_ = errno;
  }
  ~in_handler() {
    errno = errno_;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    --site::self.in_handler;
  }
  in_handler(const in_handler&) = delete;
  in_handler& operator=(const in_handler&) = delete;

 private:
  int errno_;
};

template <class F>
void for_each_active(const site::site& at, F&& visit) noexcept {
  // Pairs with the release stores of control: what is reached here is whole, and stays until the section
  // ends.
  for (auto* a = at.first.load(std::memory_order_acquire); a != nullptr;
       a = a->next.load(std::memory_order_acquire)) {
    if (!a->resting.load(std::memory_order_relaxed)) visit(*a);
  }
}

void count(std::atomic<std::uint64_t>& counter) noexcept { counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

bool run_before(const site::site& at, registers& regs) noexcept {
  if (site::self.busy()) {
    for_each_active(at, [](site::attachment& a) { count(*a.missed); });
    return false;
  }
  const in_handler guard;
  bool redirected = false;
  for_each_active(at, [&](site::attachment& a) {
    if (redirected) return count(*a.missed);
    count(*a.hits);
    regs.set_ip(at.address);
    if (a.before != nullptr && a.before(a, regs) != 0) redirected = true;
  });
  if (!redirected) regs.set_ip(at.address);
  return redirected;
}

void run_after(const site::site& at, registers& regs) noexcept {
  if (site::self.busy()) return;
  const in_handler guard;
  for_each_active(at, [&](site::attachment& a) {
    if (a.after != nullptr) a.after(a, regs);
  });
}

bool run_fault(const site::site& at, registers& regs, int signo) noexcept {
  if (site::self.busy()) return false;
  const in_handler guard;
  bool handled = false;
  for_each_active(at, [&](site::attachment& a) {
    if (!handled && a.fault != nullptr) handled = a.fault(a, regs, signo);
  });
  return handled;
}

}  // namespace libprobe::hit
