#include "hit/retreat.hpp"

#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/membarrier.h>

#include "os/signals.hpp"
#include "site/site.hpp"
#include "site/text_owner.hpp"

namespace libprobe::hit {

namespace {

/// Text, opened for writing as long as it lives.
class text_file {
 public:
  text_file() noexcept
      : file_{arch::system_call(__NR_openat, AT_FDCWD, reinterpret_cast<long>("/proc/self/mem"),
                                O_RDWR | O_CLOEXEC)} {}
  ~text_file() {
    if (file_ >= 0) arch::system_call(__NR_close, file_);
  }
  text_file(const text_file&) = delete;
  text_file& operator=(const text_file&) = delete;

  [[nodiscard]] bool write(std::uintptr_t to, const std::uint8_t* from, std::size_t size) const noexcept {
    const auto count = static_cast<long>(size);
    return file_ >= 0 && arch::system_call(__NR_pwrite64, file_, reinterpret_cast<long>(from), count,
                                           static_cast<long>(to)) == count;
  }

 private:
  long file_;
};

/// No core goes on with what it fetched before. Nothing can be done here where the kernel refuses that.
[[nodiscard]] bool synchronize_cores() noexcept {
  return arch::system_call(__NR_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
}

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
  // What has been written must be known as such, whatever is refused after it: control goes on from there.
  if (!synchronize_cores()) return;
  const text_file text;
  // The way back, as control goes it (src/control/text_pass.cpp): first byte, tails, and then the inner
  // boundaries.
  std::uint8_t bytes[arch::longest_window] = {arch::breakpoint[0]};
  if (!text.write(address, bytes, sizeof arch::breakpoint)) return;
  at->now = site::text::tailed;
  at->retreated = true;  // control finishes what is left, and leaves it a breakpoint
  if (!synchronize_cores()) return;
  for (std::size_t i = 1; i < jump.shape.window; ++i)
    bytes[i] = (jump.shape.boundaries >> i & 1U) != 0 ? jump.jump[i] : jump.original[i];
  if (!text.write(address, bytes, jump.shape.window)) return;
  at->now = site::text::staged;
  if (!synchronize_cores()) return;
  for (std::size_t i = 1; i < jump.shape.window; ++i) bytes[i] = jump.original[i];
  if (!text.write(address, bytes, jump.shape.window)) return;
  at->now = site::text::breakpoint;
  static_cast<void>(synchronize_cores());  // refused: who traps there all the same tries again
  for (std::size_t i = 1; i < jump.shape.window; ++i) {
    if ((jump.shape.boundaries >> i & 1U) == 0) continue;
    if (auto* landing = site::landings.find(address + i)) landing->copy.store(0, std::memory_order_release);
  }
}

}  // namespace libprobe::hit
