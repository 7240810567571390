// Refuses: see arch/arch.hpp.
#include "arch/trap.hpp"

namespace libprobe::arch {

void load(registers& /*regs*/, ucontext_t& /*context*/) noexcept {}
void store(const registers& /*regs*/, ucontext_t& /*context*/) noexcept {}
void set_ip(ucontext_t& /*context*/, std::uintptr_t /*address*/) noexcept {}
std::uintptr_t stack_pointer(const ucontext_t& /*context*/) noexcept { return {}; }
bool can_resume(const ucontext_t& /*context*/) noexcept { return false; }
std::uintptr_t breakpoint_address(const siginfo_t& /*info*/, const ucontext_t& /*context*/) noexcept {
  return {};
}
bool is_behind_breakpoint(const ucontext_t& /*frame*/) noexcept { return false; }
std::uintptr_t behind_breakpoint() noexcept { return {}; }
bool is_single_step(const siginfo_t& /*info*/) noexcept { return false; }
void set_single_step(registers& /*regs*/, bool /*on*/) noexcept {}
bool guarded_load(std::uintptr_t /*from*/, std::uint64_t& /*to*/) noexcept { return false; }
bool fix_guarded_load(ucontext_t& /*context*/) noexcept { return false; }
fault_words fault_of(const ucontext_t& /*context*/) noexcept { return {}; }
void set_fault(ucontext_t& /*context*/, const fault_words& /*words*/) noexcept {}
ucontext_t* frame_in_hand(const ucontext_t& /*context*/) noexcept { return nullptr; }
void finish_step(ucontext_t& /*context*/) noexcept {}
system_call_words system_call_at(const registers& /*regs*/) noexcept { return {}; }
void answer_system_call(registers& /*regs*/, long /*answer*/) noexcept {}
std::uint64_t call_confined(const void* /*handler*/, void* /*a*/, void* /*b*/, int /*c*/) { return 0; }
std::uintptr_t longjmp_target(std::uintptr_t /*buffer*/) noexcept { return {}; }
bool knows_jump_buffers() noexcept { return false; }

}  // namespace libprobe::arch

extern "C" {
void libprobe_trap_entry(int /*signo*/, siginfo_t* /*info*/, void* /*frame*/) {}
void libprobe_fault_entry(int /*signo*/, siginfo_t* /*info*/, void* /*frame*/) {}
void libprobe_signal_entry(int /*signo*/, siginfo_t* /*info*/, void* /*frame*/) {}
void libprobe_hold_entry(int /*signo*/, siginfo_t* /*info*/, void* /*frame*/) {}
void libprobe_restorer() {}
}
