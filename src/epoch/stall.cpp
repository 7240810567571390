// By raw system calls: whoever waits may hold up what libc would need.
#include "epoch/stall.hpp"

#include <asm/unistd.h>
#include <fcntl.h>
#include <time.h>

#include <array>
#include <charconv>
#include <span>
#include <string_view>

#include "arch/machine.hpp"
#include "epoch/epoch.hpp"

namespace libprobe::epoch {

namespace {

std::atomic<unsigned> patience{10};  // seconds

std::int64_t seconds_now() noexcept {
  timespec now{};
  arch::system_call(__NR_clock_gettime, CLOCK_MONOTONIC, reinterpret_cast<long>(&now));
  return now.tv_sec;
}

/// A line for standard error.
class line {
 public:
  line& operator<<(std::string_view text) noexcept {
    const auto part = text.substr(0, text_.size() - used_);
    part.copy(text_.data() + used_, part.size());
    used_ += part.size();
    return *this;
  }
  template <class Number>
  line& number(Number value, int base = 10) noexcept {
    const auto end = std::to_chars(text_.data() + used_, text_.data() + text_.size(), value, base);
    used_ = static_cast<std::size_t>(end.ptr - text_.data());
    return *this;
  }
  void write() noexcept {
    *this << "\n";
    arch::system_call(__NR_write, 2, reinterpret_cast<long>(text_.data()), static_cast<long>(used_));
  }

 private:
  std::array<char, 256> text_;
  std::size_t used_ = 0;
};

/// As the program has called it, or the kernel.
std::string_view name_of(int thread, std::span<char> room) noexcept {
  std::array<char, 64> path{};
  const std::string_view before = "/proc/self/task/", after = "/comm";
  auto* at = path.data() + before.copy(path.data(), before.size());
  at = std::to_chars(at, path.data() + 32, thread).ptr;
  after.copy(at, after.size());
  const long file =
      arch::system_call(__NR_openat, AT_FDCWD, reinterpret_cast<long>(path.data()), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  const long size =
      arch::system_call(__NR_read, file, reinterpret_cast<long>(room.data()), static_cast<long>(room.size()));
  arch::system_call(__NR_close, file);
  return size > 1 ? std::string_view{room.data(), static_cast<std::size_t>(size - 1)} : std::string_view{};
}

}  // namespace

void set_patience(unsigned seconds) noexcept { patience = seconds; }

bool stall_watch::is_time() noexcept {
  if (told_) return false;
  const auto now = seconds_now();
  if (since_ == 0) since_ = now;
  told_ = now - since_ >= std::int64_t{patience.load(std::memory_order_relaxed)};
  return told_;
}

void stall_watch::look(int thread) noexcept {
  if (!is_time()) return;
  line said;
  said << "libprobe: a commit has waited for ";
  said.number(seconds_now() - since_) << " s for ";
  if (thread > 0) {
    std::array<char, 32> room;
    said << "thread ";
    said.number(thread) << " (" << name_of(thread, room) << "), which is";
  } else {
    said << "a thread that is";
  }
  said << " in a probe's handler";
  said.write();
}

void stall_watch::look_at_calls(std::uintptr_t function) noexcept {
  if (!is_time()) return;
  line said;
  said << "libprobe: a removal has waited for ";
  said.number(seconds_now() - since_) << " s for a call of the replacement of the function at 0x";
  said.number(function, 16) << ", which has not returned";
  said.write();
}

}  // namespace libprobe::epoch
