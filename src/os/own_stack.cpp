// Part of the hit path: raw system calls only.
#include "os/own_stack.hpp"

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "arch/machine.hpp"
#include "os/pages.hpp"
#include "os/process.hpp"

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

  [[nodiscard]] long number() const noexcept { return file_; }
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

struct mapping {
  stack_extent extent;
  bool no_access = false;
  bool is_initial_stack = false;
};

/// A line of /proc/self/maps. False at the end.
bool read(small_reader& file, mapping& to) noexcept {
  to = {};
  char c = 0;
  while (file.next(c) && c != '-') to.extent.low = to.extent.low << 4 | digit(c);
  while (file.next(c) && c != ' ') to.extent.high = to.extent.high << 4 | digit(c);
  to.no_access = true;
  while (file.next(c) && c != ' ') to.no_access = to.no_access && (c == '-' || c == 'p' || c == 's');
  std::uint64_t last = 0;  // eight characters
  while (file.next(c) && c != '\n') last = last << 8 | static_cast<unsigned char>(c);
  to.is_initial_stack = last == 0x205b737461636b5d;  // " [stack]"
  return c == '\n';
}

/// The mapping that holds an address, since Linux 6.11 (PROCMAP_QUERY, linux/fs.h): some microseconds,
/// however many there are.
bool query(const small_reader& maps, std::uintptr_t address, mapping& to) noexcept {
  struct procmap_query {
    std::uint64_t size, query_flags, address, start, end, flags, rest[7];
  } asked{};
  static_assert(sizeof asked == 104);
  asked.size = sizeof asked;
  asked.address = address;
  constexpr long procmap_query = _IOWR('f', 17, struct procmap_query);
  constexpr std::uint64_t readable = 1, writable = 2, executable = 4;
  if (arch::system_call(__NR_ioctl, maps.number(), procmap_query, reinterpret_cast<long>(&asked)) != 0)
    return false;
  to = {{asked.start, asked.end}, (asked.flags & (readable | writable | executable)) == 0, false};
  return true;
}

/// The mapping that holds an address, and the one before it.
bool find(std::uintptr_t address, mapping& at, mapping& before) noexcept {
  small_reader file{"/proc/self/maps"};
  if (query(file, address, at)) return query(file, at.extent.low - 1, before);
  while (read(file, at)) {
    if (at.extent.has(address)) return true;
    before = at;
  }
  return false;
}

void find_initial_stack() noexcept {
  small_reader file{"/proc/self/maps"};
  for (mapping one; read(file, one);) {
    if (one.is_initial_stack) own_stack = one.extent;
  }
}

/// libc puts the control block of any other thread on top of its stack, and a guard below it, from where on
/// all is the stack. Where there is none the program has given memory of its own, of which no more is known.
void find_stack_of_thread() noexcept {
  const auto top = arch::thread_base();
  mapping at, before;
  if (!find(top, at, before) || before.extent.high != at.extent.low || !before.no_access) return;
  own_stack = {at.extent.low, top};
}

/// Asked of the kernel, which looks at the memory before it finds that there is no such way to change a mask.
bool is_readable(std::uintptr_t address) noexcept {
  return arch::system_call(__NR_rt_sigprocmask, -1, static_cast<long>(address), 0, sizeof(std::uint64_t)) !=
         -EFAULT;
}

/// There is nothing but inaccessible memory from there up to the stack.
bool ran_off(std::uintptr_t sp) noexcept {
  const std::uintptr_t page = page_size();
  constexpr std::uintptr_t most =
      std::uintptr_t{1024} * 1024;  // libc's guards are one page, unless asked for more
  if (sp >= own_stack.low || own_stack.low - sp > most) return false;
  for (auto at = sp & ~(page - 1); at < own_stack.low; at += page) {
    if (is_readable(at)) return false;
  }
  return true;
}

}  // namespace

__thread stack_extent own_stack __attribute__((tls_model("initial-exec"))) = {};

void find_own_stack() noexcept {
  if (is_initial_thread()) return find_initial_stack();
  find_stack_of_thread();
}

bool on_own_stack(std::uintptr_t sp) noexcept {
  const bool initial = is_initial_thread();
  if (own_stack.high == 0 || (initial && !own_stack.has(sp))) find_own_stack();
  return own_stack.has(sp) || ran_off(sp);
}

}  // namespace libprobe::os
