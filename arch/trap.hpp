// trap: signals that a probe raises: what they tell, the program's state in their frames, and the way back
// from them.
//
// The port gives (port/trap.hpp): red_zone, how many bytes below its stack pointer code may use;
// `fault_words`, what a frame says of a fault beyond siginfo_t.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <cstdint>

#include <libprobe/registers.hpp>

#include "port/trap.hpp"

namespace libprobe::arch {

// All signal-safe.

/// Copies the interrupted state out of and back into a signal frame.
void load(registers& regs, ucontext_t& context) noexcept;
void store(const registers& regs, ucontext_t& context) noexcept;
/// What unwinders see.
void set_ip(ucontext_t& context, std::uintptr_t address) noexcept;
/// Where the interrupted stack ends.
std::uintptr_t stack_pointer(const ucontext_t& context) noexcept;
/// True if resuming by hand restores all that sigreturn would.
bool can_resume(const ucontext_t& context) noexcept;

/// The address of the breakpoint that raised this SIGTRAP; 0 if it was not one.
std::uintptr_t breakpoint_address(const siginfo_t& info, const ucontext_t& context) noexcept;
/// True if the frame is a breakpoint's, and shows the address that the CPU reports of one, not the
/// breakpoint's own.
bool is_behind_breakpoint(const ucontext_t& frame) noexcept;
/// How far that is from it.
std::uintptr_t behind_breakpoint() noexcept;

/// True for the SIGTRAP that follows one single-stepped instruction.
bool is_single_step(const siginfo_t& info) noexcept;
/// Only where has_single_step.
void set_single_step(registers& regs, bool on) noexcept;

/// Reads one word of the program's memory; false where there is none. Needs the fault handlers installed.
bool guarded_load(std::uintptr_t from, std::uint64_t& to) noexcept;
/// A SIGSEGV or SIGBUS from guarded_load(): moves the context to its failure exit. False for any other fault.
bool fix_guarded_load(ucontext_t& context) noexcept;
/// The CPU's own words about a fault, out of one signal frame and into another.
fault_words fault_of(const ucontext_t& context) noexcept;
void set_fault(ucontext_t& context, const fault_words& words) noexcept;

/// The frame of another signal, if the thread whose state is in `context` was in the entry code between that
/// signal and its handler, or on the way back from it. Null: it was not.
ucontext_t* frame_in_hand(const ucontext_t& context) noexcept;
/// For a thread that a signal has found between the two steps in which a replacement's run is counted and
/// written down (or the other way): does the second one, so that its handler may leave for good. Else
/// nothing.
void finish_step(ucontext_t& context) noexcept;

/// What a system call asks for, at its instruction.
struct system_call_words {
  long number;
  long arguments[6];
};
system_call_words system_call_at(const registers& regs) noexcept;
/// As if the kernel had given that answer: the program goes on behind the instruction.
void answer_system_call(registers& regs, long answer) noexcept;

/// Calls handler(a, b, c). An exception that leaves it ends the process, as one that leaves a detour.
std::uint64_t call_confined(const void* handler, void* a, void* b, int c);

/// The stack pointer that longjmp() will restore from this buffer; 0 if that cannot be read.
std::uintptr_t longjmp_target(std::uintptr_t buffer) noexcept;
/// True if libc's jump buffers are laid out as longjmp_target() reads them: tried, by filling one. Control
/// side.
bool knows_jump_buffers() noexcept;

}  // namespace libprobe::arch

extern "C" {
/// The signal handlers as the kernel calls them. The first resumes by hand when libprobe_on_trap() returns
/// non-zero, else by sigreturn.
void libprobe_trap_entry(int, siginfo_t*, void*);
void libprobe_fault_entry(int, siginfo_t*, void*);
void libprobe_signal_entry(int, siginfo_t*, void*);
void libprobe_hold_entry(int, siginfo_t*, void*);
void libprobe_restorer();
/// Frames that may still show where in libprobe's code the thread was: each handler's entry puts its own in
/// front. Linked by uc_link, which the kernel leaves to the program.
extern __thread ucontext_t* libprobe_untold __attribute__((tls_model("initial-exec"), visibility("hidden")));
// In src/hit: called by these.
int libprobe_on_trap(int signo, siginfo_t* info, void* frame);
void libprobe_on_fault(int signo, siginfo_t* info, void* frame);
void libprobe_on_signal(int signo, siginfo_t* info, void* frame);
void libprobe_on_hold(int signo, siginfo_t* info, void* frame);
}
