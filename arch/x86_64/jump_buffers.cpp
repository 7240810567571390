// Whether libc's jump buffers are as we read them.
#include <setjmp.h>

#include "arch/trap.hpp"

namespace libprobe::arch {

[[gnu::noinline]] bool knows_jump_buffers() noexcept {
  jmp_buf buffer;
  std::uintptr_t here = 0;
  if (_setjmp(buffer) != 0) return false;
  asm volatile("movq %%rsp, %0" : "=r"(here));
  return longjmp_target(reinterpret_cast<std::uintptr_t>(&buffer)) == here;
}

}  // namespace libprobe::arch
