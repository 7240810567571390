// What kind of processor this is. The one place that asks it.
#include <cpuid.h>

#include "arch/state.hpp"
#include "arch/text.hpp"

namespace libprobe::arch {

std::uint64_t enabled_state_components() noexcept {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
  std::uint32_t c = 0;
  std::uint32_t d = 0;
  constexpr std::uint32_t osxsave = 1U << 27;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & osxsave) == 0) return 0;
  asm volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return a | (std::uint64_t{d} << 32);
}

bool page_flush_interrupts() noexcept {
  static const bool known = [] {
    std::uint32_t a = 0;
    std::uint32_t b = 0;
    std::uint32_t c = 0;
    std::uint32_t d = 0;
    constexpr std::uint32_t broadcast = 1U << 3;  // CPUID 8000_0008h, EBX: INVLPGB and TLBSYNC
    return __get_cpuid(0x8000'0008, &a, &b, &c, &d) == 0 || (b & broadcast) == 0;
  }();
  return known;
}

// valgrind's client request, which does nothing on a processor. (valgrind.h, RUNNING_ON_VALGRIND)
bool is_translated() noexcept {
  const std::uint64_t request[] = {0x1001, 0, 0, 0, 0, 0};
  std::uint64_t answer = 0;
  asm volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi; xchgq %%rbx, %%rbx"
               : "+d"(answer)
               : "a"(request)
               : "cc", "memory");
  return answer != 0;
}

}  // namespace libprobe::arch
