// What the rest of libprobe knows about a CPU: this page, and nothing else.
//
// A port is one sibling folder of x86_64/ with the same headers, plus a public register header. The folder is
// chosen by the include path, so neutral code names no architecture.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <libprobe/registers.hpp>
#include <span>

#include "os/result.hpp"

// From the port's folder:
#include "displaced.hpp"    // struct displaced, struct slot_layout, slot_unit: a site's plan and its code
#include "instruction.hpp"  // struct instruction, decode(), max_instruction_length
#include "machine.hpp"      // breakpoint, system_call(), cpu_relax()

namespace libprobe::arch {

// ---- planning: control side, may allocate, never on the hit path
// ---------------------------------------------

/// Chooses how the instruction at `address` will run once a breakpoint covers it. `step`: the user asked for
/// the trap flag; not given where the program would see it. errc::unsupported_instruction where no method
/// keeps its meaning.
result<displaced> plan(const instruction& what, std::uintptr_t address, bool step) noexcept;

/// True for a control transfer: those are emulated, whatever was asked for.
bool is_branch(const displaced& what) noexcept;

/// Writes the code for a copied instruction as it must stand at `slot` (`code` holds 2 * slot_unit bytes).
/// Pure: the same address, bytes and slot always give the same code. errc::out_of_code_memory if the slot is
/// out of reach of the instruction's operand and no scratch register can bridge it.
result<slot_layout> emit(const displaced& plan, std::uintptr_t address, std::uintptr_t slot,
                         std::span<std::uint8_t> code) noexcept;

// ---- hit: signal-safe, no allocation, no lock, no libc
// --------------------------------------------------------

/// Copies the interrupted state out of and back into a signal frame.
void load(registers& regs, ucontext_t& context) noexcept;
void store(const registers& regs, ucontext_t& context) noexcept;

/// The address of the breakpoint that raised this SIGTRAP; 0 if it was not one.
std::uintptr_t breakpoint_address(const siginfo_t& info, const ucontext_t& context) noexcept;
/// True for the SIGTRAP that follows one single-stepped instruction.
bool is_single_step(const siginfo_t& info) noexcept;

/// Does what the displaced instruction would have done, the instruction pointer included. False: it would
/// have faulted on memory; then nothing has changed, and the fault handlers have seen the signal.
bool emulate(const displaced& plan, std::uintptr_t address, registers& regs) noexcept;

/// Arms and disarms the trap flag.
void set_single_step(registers& regs, bool on) noexcept;

/// Turns state seen inside a slot, `offset` bytes behind its start, into what the program would have had at
/// its own address: before the instruction (true) or after it (false).
bool translate(const slot_layout& layout, std::uintptr_t address, std::size_t offset,
               registers& regs) noexcept;

/// A SIGSEGV or SIGBUS from guarded_load(): moves the context to its failure exit. False for any other fault.
bool fix_guarded_load(ucontext_t& context) noexcept;
/// Reads one word of the program's memory; false where there is none. Needs the fault handlers installed.
bool guarded_load(std::uintptr_t from, std::uint64_t& to) noexcept;

/// The CPU's own words about a fault, out of one signal frame and into another.
fault_words fault_of(const ucontext_t& context) noexcept;
void set_fault(ucontext_t& context, const fault_words& words) noexcept;

/// True if resuming by hand restores all that sigreturn would.
bool can_resume(const ucontext_t& context) noexcept;

}  // namespace libprobe::arch

extern "C" {
/// The signal handlers as the kernel calls them, in entry.S. The first resumes by hand when
/// libprobe_on_trap() returns non-zero, else by sigreturn.
void libprobe_trap_entry(int, siginfo_t*, void*);
void libprobe_restorer();
/// In src/hit: called by libprobe_trap_entry.
int libprobe_on_trap(int signo, siginfo_t* info, void* frame);
}
