// The smallest machine facts: the breakpoint, system calls without libc, the pause hint.
#pragma once

#include <cstdint>

namespace libprobe::arch {

/// int3. The trap reports the address behind it.
inline constexpr std::uint8_t breakpoint[] = {0xcc};

/// What a signal frame says of a fault beyond siginfo_t: error code, trap number, fault address.
struct fault_words {
  std::int64_t error, trap, address;
};

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

/// Which parts of the extended state the system has switched on, as XCR0 tells them; 0: there is no XSAVE.
std::uint64_t enabled_state_components() noexcept;

/// True if the kernel interrupts the CPUs that run a process when it takes a page away from it; false where
/// the CPU can tell the others by itself (AMD's INVLPGB).
bool page_flush_interrupts() noexcept;

/// True if the program's instructions are not run but translated, by valgrind: it never sees text change.
bool is_translated() noexcept;

/// A raw system call: no errno, no cancellation point, nothing of libc, so a probe on libc never sees it.
/// Returns the kernel's answer, negative errno included. (System V ABI, A.2.1)
inline long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) noexcept {
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
