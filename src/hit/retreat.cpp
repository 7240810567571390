#include "hit/retreat.hpp"

#include "arch/patch.hpp"
#include "arch/text.hpp"
#include "os/raw.hpp"
#include "os/signals.hpp"
#include "site/site.hpp"
#include "site/text_owner.hpp"

namespace libprobe::hit {

namespace {

/// A signal handler in between might fork, or never come back; and the text would have an owner for ever.
class uninterrupted {
 public:
  uninterrupted() noexcept { os::change_mask(SIG_BLOCK, os::every_signal, &before_); }
  ~uninterrupted() { os::change_mask(SIG_SETMASK, before_); }
  uninterrupted(const uninterrupted&) = delete;
  uninterrupted& operator=(const uninterrupted&) = delete;

 private:
  std::uint64_t before_ = 0;
};

}  // namespace

void retreat(std::uintptr_t address) noexcept {
  const uninterrupted alone;
  const site::text_owner mine{site::text_owner::if_free};
  if (!mine) return;
  site::site* at = site::sites.find(address);
  if (at == nullptr || at->now != site::text::jump) return;
  const auto& jump = *at->jump;
  // Nothing can be done here where the kernel refuses that. What has been written must be known as such,
  // whatever is refused after it: control goes on from there.
  if (!os::raw::synchronize_cores()) return;
  const os::raw::file text = os::raw::open_text();
  // The way back, as control goes it (src/control/text_pass.cpp).
  while (at->now != site::text::breakpoint) {
    const auto next = arch::next_phase(at->now, site::text::breakpoint);
    const auto bytes = arch::image_of(next, jump.shape, jump.original, jump.jump);
    if (!text.write_at(address, std::span{bytes}.first(jump.shape.window))) return;
    arch::code_was_written(address, jump.shape.window);
    at->now = next;
    at->retreated = true;  // control finishes what is left, and leaves it a breakpoint
    if (next != site::text::breakpoint && !os::raw::synchronize_cores()) return;
  }
  static_cast<void>(os::raw::synchronize_cores());  // refused: who traps there all the same tries again
  for (std::size_t i = 1; i < jump.shape.window; ++i) {
    if ((jump.shape.boundaries >> i & 1U) == 0) continue;
    if (auto* landing = site::landings.find(address + i)) landing->copy.store(0, std::memory_order_release);
  }
}

}  // namespace libprobe::hit
