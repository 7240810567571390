// Refuses: see arch/arch.hpp.
#include "arch/call.hpp"

namespace libprobe::arch {

void divert_to_entry(registers& /*regs*/, std::uintptr_t /*word*/) noexcept {}
void divert_to_replacement(registers& /*regs*/, std::uintptr_t /*word*/) noexcept {}
void set_initial_stack_end(std::uintptr_t /*end*/) noexcept {}
void call_function(const void* /*entry*/, const registers& /*regs*/, const void* /*vectors*/,
                   std::size_t /*stack_bytes*/, outcall& /*call*/) {}
[[noreturn]] void return_early(outcall& /*call*/) noexcept { __builtin_trap(); }
void call_in_place(const void* /*entry*/, registers& /*regs*/, void* /*vectors*/, std::size_t /*stack_bytes*/,
                   result_registers /*result*/) {}
void call_live(const void* /*entry*/, registers& /*regs*/, std::size_t /*stack_bytes*/,
               result_registers /*result*/) {}

}  // namespace libprobe::arch

extern "C" {
libprobe::arch::direct_words libprobe_direct_words{};

void libprobe_choose(void** chosen, void* what, int /*shared*/, std::uint64_t* begun) noexcept {
  __atomic_fetch_add(begun, 1, __ATOMIC_RELAXED);
  *chosen = what;
}
void libprobe_begin_run(void** chosen, void* none, void** runs, void* run) noexcept {
  *runs = run;
  *chosen = none;
}
void libprobe_end_run(void** noted, void* before, int /*shared*/, std::uint64_t* ended) noexcept {
  *noted = before;
  __atomic_fetch_add(ended, 1, __ATOMIC_RELEASE);
}
}
