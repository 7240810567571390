// Ways out of libprobe's code that no return and no unwinder takes: a signal's handler that never comes back,
// longjmp. Part of the hit path.
#include <ucontext.h>

#include <bit>

#include "arch/machine.hpp"
#include "arch/trap.hpp"

extern "C" {
// In direct_call.S; ends with a row of zeros.
struct libprobe_second_step {
  std::int32_t at, next, what;
};
extern const libprobe_second_step libprobe_second_steps[] __attribute__((visibility("hidden")));
extern const char libprobe_direct_code[], libprobe_direct_code_end[];
}

namespace libprobe::arch {

void finish_step(ucontext_t& context) noexcept {
  auto& g = context.uc_mcontext.gregs;
  const auto ip = static_cast<std::uintptr_t>(g[REG_RIP]);
  const auto code = reinterpret_cast<std::uintptr_t>(libprobe_direct_code);
  if (ip - code >= static_cast<std::uintptr_t>(libprobe_direct_code_end - libprobe_direct_code)) return;
  const auto word = [&g](int reg) { return reinterpret_cast<std::uint64_t*>(g[reg]); };
  for (const auto* step = libprobe_second_steps; step->next != 0; ++step) {
    if (code + static_cast<std::uintptr_t>(step->at) != ip) continue;
    enum what : int { link_run = 0, add_one = 1, store_word = 2 };  // as STEP_LINK and its like
    if (step->what == link_run) {
      *reinterpret_cast<std::uint64_t*>(thread_base() + static_cast<std::uintptr_t>(g[REG_RCX])) =
          static_cast<std::uint64_t>(g[REG_RSP]);
    } else if (step->what == add_one) {
      __atomic_fetch_add(word(REG_RCX), 1, __ATOMIC_RELEASE);
    } else {
      *word(REG_RDI) = static_cast<std::uint64_t>(g[REG_RSI]);
    }
    g[REG_RIP] = static_cast<greg_t>(code + static_cast<std::uintptr_t>(step->next));
    return;
  }
}

// glibc: the seventh word is the stack pointer, xored with the word at fs:0x30 and rotated left by 17
// (sysdeps/unix/sysv/linux/x86_64, jmpbuf-offsets.h and pointer_guard.h).
std::uintptr_t longjmp_target(std::uintptr_t buffer) noexcept {
  std::uint64_t kept = 0, guard = 0;
  if (!guarded_load(buffer + 6 * sizeof kept, kept)) return 0;
  asm("movq %%fs:0x30, %0" : "=r"(guard));
  return std::rotr(kept, 17) ^ guard;
}

}  // namespace libprobe::arch
