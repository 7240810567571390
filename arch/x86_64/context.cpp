// Signal frames: the interrupted registers in and out, and what kind of trap it was.
#include <climits>
#include <cstring>

#include "arch/patch.hpp"
#include "arch/trap.hpp"

extern "C" {
bool libprobe_guarded_load(std::uintptr_t from, std::uint64_t* to);
std::uint64_t libprobe_call_confined(const void* handler, void* a, void* b, int c);
extern const char libprobe_guarded_access[];
extern const char libprobe_guarded_exit[];
extern const char libprobe_guarded_stack_access[];
extern const char libprobe_guarded_stack_exit[];
extern const char libprobe_copy_live[], libprobe_copy_live_next[], libprobe_copy_area[],
    libprobe_copy_area_end[];
}

namespace libprobe::arch {

namespace {

constexpr std::uint64_t trap_flag = 0x100;
constexpr std::uint64_t avx_component = 4;
// Offsets in the XSAVE area, Intel SDM vol. 1, 13.4.
constexpr std::size_t xmm_offset = 160;
constexpr std::size_t xmm_bytes = 16;
constexpr std::uint32_t xstate_magic = 0x46505853;      // FP_XSTATE_MAGIC1, asm/sigcontext.h
constexpr std::uint32_t xstate_end_magic = 0x46505845;  // FP_XSTATE_MAGIC2
constexpr std::size_t sw_reserved_offset = 464;
constexpr std::size_t xstate_bv_offset = 512;
constexpr std::size_t ymm_upper_offset = 576;

const _fpx_sw_bytes& software_bytes(const ucontext_t& context) noexcept {
  return *reinterpret_cast<const _fpx_sw_bytes*>(
      reinterpret_cast<const std::byte*>(context.uc_mcontext.fpregs) + sw_reserved_offset);
}

/// As sigreturn looks at it (check_xstate_in_sigframe() in the kernel): without its end, as in a copy by
/// somebody who knows FXSAVE only, the rest of the area is not what it was. Parts that nobody here knows are
/// restored with all others.
bool has_xsave_area(const ucontext_t& context) noexcept {
  const auto& software = software_bytes(context);
  if (software.magic1 != xstate_magic || software.xstate_size < ymm_upper_offset ||
      software.xstate_size + sizeof(std::uint32_t) > software.extended_size)
    return false;
  std::uint32_t end = 0;
  std::memcpy(&end, reinterpret_cast<const std::byte*>(context.uc_mcontext.fpregs) + software.xstate_size,
              sizeof end);
  return end == xstate_end_magic;
}

bool shadow_stack_in_use() noexcept {
  std::uint64_t pointer = 0;
  asm volatile("rdsspq %0" : "+r"(pointer));  // a no-op that leaves 0 where there is none
  return pointer != 0;
}

}  // namespace

void load(registers& regs, ucontext_t& context) noexcept {
  const auto& g = context.uc_mcontext.gregs;
  const auto get = [&g](int index) { return static_cast<std::uint64_t>(g[index]); };
  regs.rax = get(REG_RAX);
  regs.rbx = get(REG_RBX);
  regs.rcx = get(REG_RCX);
  regs.rdx = get(REG_RDX);
  regs.rsi = get(REG_RSI);
  regs.rdi = get(REG_RDI);
  regs.rbp = get(REG_RBP);
  regs.rsp = get(REG_RSP);
  regs.r8 = get(REG_R8);
  regs.r9 = get(REG_R9);
  regs.r10 = get(REG_R10);
  regs.r11 = get(REG_R11);
  regs.r12 = get(REG_R12);
  regs.r13 = get(REG_R13);
  regs.r14 = get(REG_R14);
  regs.r15 = get(REG_R15);
  regs.rip = get(REG_RIP);
  regs.rflags = get(REG_EFL);
  auto* area = reinterpret_cast<std::byte*>(context.uc_mcontext.fpregs);
  regs.vectors_.xmm = area + xmm_offset;
  regs.vectors_.stride = xmm_bytes;
  const bool xsave = has_xsave_area(context);
  regs.vectors_.in_use = xsave ? reinterpret_cast<std::uint64_t*>(area + xstate_bv_offset) : nullptr;
  regs.vectors_.ymm_upper =
      xsave && (software_bytes(context).xstate_bv & avx_component) != 0 ? area + ymm_upper_offset : nullptr;
}

void store(const registers& regs, ucontext_t& context) noexcept {
  auto& g = context.uc_mcontext.gregs;
  const auto set = [&g](int index, std::uint64_t value) { g[index] = static_cast<greg_t>(value); };
  set(REG_RAX, regs.rax);
  set(REG_RBX, regs.rbx);
  set(REG_RCX, regs.rcx);
  set(REG_RDX, regs.rdx);
  set(REG_RSI, regs.rsi);
  set(REG_RDI, regs.rdi);
  set(REG_RBP, regs.rbp);
  set(REG_RSP, regs.rsp);
  set(REG_R8, regs.r8);
  set(REG_R9, regs.r9);
  set(REG_R10, regs.r10);
  set(REG_R11, regs.r11);
  set(REG_R12, regs.r12);
  set(REG_R13, regs.r13);
  set(REG_R14, regs.r14);
  set(REG_R15, regs.r15);
  set(REG_RIP, regs.rip);
  set(REG_EFL, regs.rflags);
}

std::uintptr_t stack_pointer(const ucontext_t& context) noexcept {
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RSP]);
}

void set_ip(ucontext_t& context, std::uintptr_t address) noexcept {
  context.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(address);
}

system_call_words system_call_at(const registers& regs) noexcept {
  const auto word = [](std::uint64_t value) { return static_cast<long>(value); };
  return {word(regs.rax),
          {word(regs.rdi), word(regs.rsi), word(regs.rdx), word(regs.r10), word(regs.r8), word(regs.r9)}};
}

void answer_system_call(registers& regs, long answer) noexcept {
  constexpr std::uint64_t length = 2;
  regs.rip += length;
  regs.rax = static_cast<std::uint64_t>(answer);
  regs.rcx = regs.rip;
  regs.r11 = regs.rflags;
}

bool is_behind_breakpoint(const ucontext_t& frame) noexcept {
  constexpr std::size_t info_offset = 304;  // struct rt_sigframe, arch/x86/include/asm/sigframe.h
  const auto* const at = reinterpret_cast<const std::byte*>(&frame) + info_offset;
  const auto& info = *reinterpret_cast<const siginfo_t*>(at);
  const auto address = breakpoint_address(info, frame);
  if (info.si_signo != SIGTRAP || address == 0) return false;
  // Where libprobe_on_trap() has left the address, it may have moved the instruction pointer there.
  return info.si_addr == nullptr || info.si_addr == reinterpret_cast<void*>(address);
}

std::uintptr_t breakpoint_address(const siginfo_t& info, const ucontext_t& context) noexcept {
  // The kernel raises SIGTRAP for int3 with SI_KERNEL; every other source has its own code.
  if (info.si_code != SI_KERNEL) return 0;
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[REG_RIP]) - sizeof breakpoint_bytes;
}

bool is_single_step(const siginfo_t& info) noexcept { return info.si_code == TRAP_TRACE; }

void set_single_step(registers& regs, bool on) noexcept {
  regs.rflags = on ? regs.rflags | trap_flag : regs.rflags & ~trap_flag;
}

bool fix_guarded_load(ucontext_t& context) noexcept {
  struct fixed {
    const char *at, *exit;
  };
  const fixed loads[] = {{libprobe_guarded_access, libprobe_guarded_exit},
                         {libprobe_guarded_stack_access, libprobe_guarded_stack_exit},
                         {libprobe_copy_live, libprobe_copy_live_next},
                         {libprobe_copy_area, libprobe_copy_area_end}};
  auto& g = context.uc_mcontext.gregs;
  for (const auto& one : loads) {
    if (g[REG_RIP] != reinterpret_cast<greg_t>(one.at)) continue;
    // It stores, too, and the stack may have come to its end.
    const bool by_load = static_cast<std::uint64_t>(g[REG_CR2] - g[REG_RSI]) < sizeof(std::uint64_t);
    if (one.at == libprobe_copy_area && !by_load) return false;
    g[REG_RIP] = reinterpret_cast<greg_t>(one.exit);
    return true;
  }
  return false;
}

bool guarded_load(std::uintptr_t from, std::uint64_t& to) noexcept {
  return libprobe_guarded_load(from, &to);
}

std::uint64_t call_confined(const void* handler, void* a, void* b, int c) {
  return libprobe_call_confined(handler, a, b, c);
}

fault_words fault_of(const ucontext_t& context) noexcept {
  const auto& g = context.uc_mcontext.gregs;
  return {g[REG_ERR], g[REG_TRAPNO], g[REG_CR2]};
}

void set_fault(ucontext_t& context, const fault_words& words) noexcept {
  auto& g = context.uc_mcontext.gregs;
  g[REG_ERR] = words.error;
  g[REG_TRAPNO] = words.trap;
  g[REG_CR2] = words.address;
}

bool can_resume(const ucontext_t& context) noexcept {
  constexpr int autodisarm =
      INT_MIN;  // SS_AUTODISARM, linux/signal.h: only sigreturn re-arms such an alternate stack
  return context.uc_mcontext.fpregs != nullptr && has_xsave_area(context) &&
         (context.uc_stack.ss_flags & autodisarm) == 0 && !shadow_stack_in_use();
}

}  // namespace libprobe::arch
