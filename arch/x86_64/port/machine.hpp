// See arch/machine.hpp.
#pragma once

#include <cstdint>

namespace libprobe::arch {

inline void cpu_relax() noexcept { __builtin_ia32_pause(); }

/// Adds to a counter that only this thread writes: one instruction, so that no signal handler of the thread
/// comes in between.
inline void add_own(std::uint64_t& counter, std::int64_t more) noexcept {
  asm volatile("addq %1, %0" : "+m"(counter) : "er"(more) : "cc");
}

/// The thread's own base: thread-local variables of programs and libraries that were there at its start lie
/// at the same distance from it in every thread. (System V ABI, thread-local storage, variant II)
inline std::uintptr_t thread_base() noexcept {
  std::uintptr_t base = 0;
  asm("movq %%fs:0, %0" : "=r"(base));
  return base;
}

/// Where a tracer finds it: offsetof(user_regs_struct, fs_base), sys/user.h.
inline constexpr long thread_base_in_user_area = 21L * 8;

/// The time-stamp counter.
inline std::uint64_t ticks() noexcept { return __builtin_ia32_rdtsc(); }

/// The page with the kernel's legacy entry points, [start, end): fixed, and no module.
inline constexpr std::uintptr_t legacy_kernel_entry_start = 0xffffffffff600000;
inline constexpr std::uintptr_t legacy_kernel_entry_end = 0xffffffffff601000;

/// A raw system call: no errno, no cancellation point, nothing of libc, so a probe on libc never sees it.
/// Returns the kernel's answer, negative errno included. (System V ABI, A.2.1)
inline long system_call(long number, long a, long b, long c, long d, long e, long f) noexcept {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long answer = number;
  asm volatile("syscall"
               : "+a"(answer)
               : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
               : "rcx", "r11", "memory");
  return answer;
}

}  // namespace libprobe::arch
