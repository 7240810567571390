// Part of the hit path: raw system calls only.
#include "os/signal_stack.hpp"

#include <asm/unistd.h>

#include "arch/machine.hpp"

namespace libprobe::os {

__thread signal_stack own_signal_stack __attribute__((tls_model("initial-exec"))) = {};

bool on_signal_stack(std::uintptr_t address) noexcept {
  const auto& seen = own_signal_stack;
  if (address >= seen.low && address < seen.high) return true;
  // A handler that was installed by a system call of the program's own is not seen.
  stack_t now{};
  if (arch::system_call(__NR_sigaltstack, 0, reinterpret_cast<long>(&now)) != 0) return true;
  return address - reinterpret_cast<std::uintptr_t>(now.ss_sp) < now.ss_size;
}

}  // namespace libprobe::os
