// Part of the hit path: raw system calls only.
#include "os/own_stack.hpp"

#include <asm/unistd.h>
#include <fcntl.h>

#include "machine.hpp"
#include "os/signals.hpp"

namespace libprobe::os {

namespace {

/// Reads a file in parts that fit on a signal's stack.
class small_reader {
 public:
  explicit small_reader(const char* path) noexcept
      : file_{arch::system_call(__NR_openat, AT_FDCWD, reinterpret_cast<long>(path), O_RDONLY | O_CLOEXEC)} {}
  ~small_reader() {
    if (file_ >= 0) arch::system_call(__NR_close, file_);
  }
  small_reader(const small_reader&) = delete;
  small_reader& operator=(const small_reader&) = delete;

  /// False at the end, or where it cannot be read.
  bool next(char& c) noexcept {
    if (at_ == filled_) {
      filled_ = arch::system_call(__NR_read, file_, reinterpret_cast<long>(part_), sizeof part_);
      at_ = 0;
      if (filled_ <= 0) return false;
    }
    c = part_[at_++];
    return true;
  }

 private:
  long file_;
  long at_ = 0, filled_ = 0;
  char part_[512];
};

std::uintptr_t digit(char c) noexcept {
  return static_cast<std::uintptr_t>(c <= '9' ? c - '0' : c - 'a' + 10);
}

/// A line of /proc/self/maps.
struct line {
  stack_extent extent;
  bool is_initial = false;  // ends with "[stack]"
};

bool read(small_reader& file, line& to) noexcept {
  to = {};
  char c = 0;
  while (file.next(c) && c != '-') to.extent.low = to.extent.low << 4 | digit(c);
  while (file.next(c) && c != ' ') to.extent.high = to.extent.high << 4 | digit(c);
  std::uint64_t last = 0;  // eight characters
  while (file.next(c) && c != '\n') last = last << 8 | static_cast<unsigned char>(c);
  to.is_initial = last == 0x205b737461636b5d;  // " [stack]"
  return c == '\n';
}

}  // namespace

bool find_own_stack(stack_extent& found) noexcept {
  const bool initial = thread_id() == process_id();
  // libc puts the thread's control block on top of its stack.
  const auto top = arch::thread_base();
  small_reader file{"/proc/self/maps"};
  for (line one; read(file, one);) {
    if (initial ? !one.is_initial : !one.extent.has(top)) continue;
    found = one.extent;
    if (!initial) found.high = top;
    return true;
  }
  return false;
}

}  // namespace libprobe::os
