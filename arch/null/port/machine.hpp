// See arch/machine.hpp. Whatever CPU it is: by the compiler's and libc's own means.
#pragma once

#include <unistd.h>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace libprobe::arch {

inline constexpr long thread_base_in_user_area = -1;
inline constexpr std::uintptr_t legacy_kernel_entry_start = 0;
inline constexpr std::uintptr_t legacy_kernel_entry_end = 0;

inline long system_call(long number, long a, long b, long c, long d, long e, long f) noexcept {
  const int before = errno;
  const long answer = ::syscall(number, a, b, c, d, e, f);
  const int why = errno;
  errno = before;
  return answer == -1 ? -why : answer;
}

inline std::uintptr_t thread_base() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
}

inline void cpu_relax() noexcept {}

inline void add_own(std::uint64_t& counter, std::int64_t more) noexcept {
  __atomic_fetch_add(&counter, static_cast<std::uint64_t>(more), __ATOMIC_RELAXED);
}

inline std::uint64_t ticks() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace libprobe::arch
