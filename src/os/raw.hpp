// Linux for the rest of libprobe. This header: system calls by our own instructions, without libc. Beside it,
// a header each: text, code memory, barriers, signals, masks, threads, stacks, maps, processes, tracers,
// holds. Masks, threads and maps use libc, too, and allocate: only what says "Signal-safe" may run at a hit.
// Knows no probes.
//
// libc's own system calls lie in text that may be in the middle of a change just now
// (src/control/signal_guards.cpp puts probes there), may be interposed, and set errno.
//
// Floor: the ground, which os and arch share. os uses arch (system calls, and what a CPU needs where code
// changes); arch uses os/result.hpp and os::read_memory().
// Words: *raw*, without libc; *signal-safe*, at any moment, in any handler; a *guest*, a child that borrows
// this memory (vfork); *home*, the process that this memory belongs to; to *hold* a thread, to keep it in a
// signal handler for a moment; *deaf*, with a signal blocked for good: SIGTRAP (masks.hpp), or hold_signal
// (hold.hpp).
#pragma once

#include <asm/unistd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <time.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "arch/machine.hpp"

namespace libprobe::os::raw {

template <class T>
long word(T value) noexcept {
  if constexpr (std::is_pointer_v<T>) {
    return reinterpret_cast<long>(value);
  } else if constexpr (std::is_null_pointer_v<T>) {
    return 0;
  } else {
    return static_cast<long>(value);
  }
}

/// The kernel's answer: a negative errno where it refuses.
template <class... Arguments>
long call(long number, Arguments... arguments) noexcept {
  return arch::system_call(number, word(arguments)...);
}

constexpr bool refused(long answer) noexcept { return answer < 0 && answer >= -4095; }

/// An open file. Signal-safe, as all here; blocks only on the file.
class file {
 public:
  file(const char* path, int flags) noexcept
      : number_{call(__NR_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0)} {}
  ~file() {
    if (*this) call(__NR_close, number_);
  }
  file(const file&) = delete;
  file& operator=(const file&) = delete;
  explicit operator bool() const noexcept { return number_ >= 0; }

  long read(void* to, std::size_t size) const noexcept {
    long count = 0;
    do count = call(__NR_read, number_, to, size);
    while (count == -EINTR);
    return count;
  }
  /// Of a directory: getdents64(2).
  long entries(void* to, std::size_t size) const noexcept { return call(__NR_getdents64, number_, to, size); }
  [[nodiscard]] long read_at(std::uint64_t offset, std::span<std::uint8_t> to) const noexcept {
    return *this ? call(__NR_pread64, number_, to.data(), to.size(), offset) : -EBADF;
  }
  /// False: some of it may have been written.
  [[nodiscard]] bool write_at(std::uint64_t offset, std::span<const std::uint8_t> from) const noexcept {
    return *this && call(__NR_pwrite64, number_, from.data(), from.size(), offset) == word(from.size());
  }

 private:
  long number_;
};

inline long map(std::uintptr_t at, std::size_t size, int protection, int flags) noexcept {
  return call(__NR_mmap, at, size, protection, flags | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
inline void unmap(std::uintptr_t at, std::size_t size) noexcept { call(__NR_munmap, at, size); }
inline bool protect(std::uintptr_t at, std::size_t size, int protection) noexcept {
  return call(__NR_mprotect, at, size, protection) == 0;
}
/// To that very place, in the place of what is mapped there.
inline bool move(std::uintptr_t from, std::size_t size, std::uintptr_t to) noexcept {
  return call(__NR_mremap, from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == word(to);
}
inline bool advise(const void* at, std::size_t size, int advice) noexcept {
  return call(__NR_madvise, at, size, advice) == 0;
}

/// The process's text, for writing. To be opened for each pass: a descriptor that is kept would be inherited
/// by forked children, whose writes would then land in the parent, and a program that closes all descriptors
/// would put its own file under the number.
inline file open_text() noexcept { return {"/proc/self/mem", O_RDWR}; }

inline bool membarrier(int command) noexcept { return call(__NR_membarrier, command, 0, 0) == 0; }
/// False: the kernel does not do that by one system call; see os::synchronize_cores().
[[nodiscard]] inline bool synchronize_cores() noexcept {
  return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE);
}

/// False: a signal came before it was over, and `left` tells what is left.
inline bool sleep(const timespec& time, timespec* left = nullptr) noexcept {
  return call(__NR_nanosleep, &time, left) == 0;
}

/// Returns when somebody wakes it, at once where another value stands there, and at any time besides.
inline void wait(const std::uint32_t* word_there, std::uint32_t value) noexcept {
  call(__NR_futex, word_there, FUTEX_WAIT_PRIVATE, value, nullptr);
}
inline void wake_one(const std::uint32_t* word_there) noexcept {
  call(__NR_futex, word_there, FUTEX_WAKE_PRIVATE, 1);
}

}  // namespace libprobe::os::raw
