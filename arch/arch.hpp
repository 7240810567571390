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
#include <libprobe/replacement.hpp>
#include <optional>
#include <span>

#include "os/result.hpp"

// From the port's folder:
#include "displaced.hpp"     // struct displaced, struct slot_layout, slot_unit: a site's plan and its code
#include "instruction.hpp"   // struct instruction, decode(), max_instruction_length
#include "jump.hpp"          // enum tactic, struct jump_shape, jump_shapes(), write_jump()
#include "jump_tables.hpp"   // jump_table, table_of(), goes_on(): data among code
#include "linkage.hpp"       // linkage stubs, relocations, the signal-return stub
#include "machine.hpp"       // breakpoint, system_call(), cpu_relax(), the kind of processor
#include "return_slots.hpp"  // return_slot(), hijack_return(): where followed calls return to
#include "system_calls.hpp"  // system_calls_in(), system_call_at(), answer_system_call()
#include "vectors.hpp"       // struct vector_use: what a handler may do to the extended state

namespace libprobe::arch {

// ---- planning: control side, may allocate, never on the hit path
// ---------------------------------------------

/// Chooses how the instruction at `address` will run once a breakpoint covers it. `step`: the user asked for
/// the trap flag; not given where the program would see it. errc::unsupported_instruction where no method
/// keeps its meaning.
result<displaced> plan(const instruction& what, std::uintptr_t address, bool step) noexcept;

/// Writes the code for a copied instruction as it must stand at `slot` (`code` holds 2 * slot_unit bytes),
/// from where it goes on at `next`. Pure: the same arguments always give the same code.
/// errc::out_of_code_memory if the slot is out of reach of the instruction's operand and no scratch register
/// can bridge it.
result<slot_layout> emit(const displaced& plan, std::uintptr_t address, std::uintptr_t slot,
                         std::uintptr_t next, std::span<std::uint8_t> code) noexcept;

/// Writes what a replaced function is called by, as its original: it goes on at `body`, the copy of its first
/// instruction. Fills one slot_unit. Pure, as emit().
result<slot_layout> emit_original(std::uintptr_t slot, std::uintptr_t body,
                                  std::span<std::uint8_t> code) noexcept;

/// Where a branch with a relative operand leads; nothing for any other instruction.
std::optional<std::uintptr_t> branch_target(const instruction& what, std::uintptr_t address) noexcept;

/// Code that a jump leads to. It calls a routine in src/hit, with `about` (a site::detour), and when that
/// returns 0
enum class detour_end : std::uint8_t {
  goes_on,  // at `next`, after libprobe_on_detour() or libprobe_on_detour_after()
  follows,  // at the address in the thread's variable `next` bytes from its base, the return address popped,
            // after libprobe_on_detour_follow()
  returns,  // from the function, after libprobe_on_detour_replace()
};
/// Writes it. `passed`: how many bytes of the original, at `address`, have run. Fills one slot_unit. Pure, as
/// emit().
result<slot_layout> emit_detour(const void* about, std::uintptr_t address, std::uint8_t passed,
                                detour_end end, std::uintptr_t slot, std::uintptr_t next,
                                std::span<std::uint8_t> code) noexcept;

/// Writes the code of a detour that calls nobody: it counts in the thread's row of a table (see
/// site/counter.hpp), whose place lies `row` bytes from the thread's base, and goes on at `next`; threads
/// that have no row go to `otherwise`. `at_entry`: at a function's first instruction, where no flag is in use
/// and no red zone either. Pure, as emit().
result<slot_layout> emit_count(const void* column, std::intptr_t row, bool at_entry, std::uintptr_t otherwise,
                               std::uintptr_t slot, std::uintptr_t next,
                               std::span<std::uint8_t> code) noexcept;

/// A jump from `hop`, which is as long as hop_length, to anywhere.
inline constexpr std::size_t hop_length = 14;
void write_hop(std::uintptr_t hop, std::uintptr_t target, std::span<std::uint8_t, hop_length> code) noexcept;

// ---- hit: signal-safe, no allocation, no lock, no libc
// --------------------------------------------------------

/// Copies the interrupted state out of and back into a signal frame.
void load(registers& regs, ucontext_t& context) noexcept;
void store(const registers& regs, ucontext_t& context) noexcept;
/// What unwinders see: the kernel leaves the instruction pointer behind the breakpoint, where another
/// instruction's unwind data may hold.
void set_ip(ucontext_t& context, std::uintptr_t address) noexcept;

/// Where the interrupted stack ends.
std::uintptr_t stack_pointer(const ucontext_t& context) noexcept;

/// True if the frame is a breakpoint's, and shows the address behind it.
bool is_behind_breakpoint(const ucontext_t& frame) noexcept;
/// The address of the breakpoint that raised this SIGTRAP; 0 if it was not one.
std::uintptr_t breakpoint_address(const siginfo_t& info, const ucontext_t& context) noexcept;
/// True for the SIGTRAP that follows one single-stepped instruction.
bool is_single_step(const siginfo_t& info) noexcept;

/// Does what the displaced instruction would have done, the instruction pointer included. False: it would
/// have faulted on memory; then nothing has changed, and the fault handlers have seen the signal.
bool emulate(const displaced& plan, std::uintptr_t address, registers& regs) noexcept;

/// Arms and disarms the trap flag.
void set_single_step(registers& regs, bool on) noexcept;

/// How a thread that was found in libprobe's code goes on, once its registers are what the program would have
/// at its own address.
struct way_back {
  bool before = true;     // the instruction there has not run
  std::uintptr_t ip = 0;  // where in libprobe's code it goes on with those registers,
  std::intptr_t sp = 0;   // and the stack pointer so much higher
};
/// For registers seen inside the slot of an instruction at `address`. Reads the stack, and the slot.
way_back translate(const slot_layout& layout, std::uintptr_t address, std::uintptr_t slot,
                   registers& regs) noexcept;
/// For registers seen inside a return slot; nothing if they were not.
std::optional<way_back> translate_return(registers& regs) noexcept;
/// The thread goes on there.
void take(const way_back& back, registers& regs) noexcept;
/// Where a jump as hops and slots have it leads; 0 if there is none.
std::uintptr_t jump_target(std::uintptr_t at) noexcept;

/// The frame of another signal, if the thread whose state is in `context` was in the entry code between that
/// signal and its handler, or on the way back from it. Null: it was not.
ucontext_t* frame_in_hand(const ucontext_t& context) noexcept;

/// A SIGSEGV or SIGBUS from guarded_load(): moves the context to its failure exit. False for any other fault.
bool fix_guarded_load(ucontext_t& context) noexcept;
/// Reads one word of the program's memory; false where there is none. Needs the fault handlers installed.
bool guarded_load(std::uintptr_t from, std::uint64_t& to) noexcept;

/// The CPU's own words about a fault, out of one signal frame and into another.
fault_words fault_of(const ucontext_t& context) noexcept;
void set_fault(ucontext_t& context, const fault_words& words) noexcept;

// ---- ordinary context: outside signal handlers, on the program's stack
// ----------------------------------------

/// At a function's first instruction: the address that it will return to.
std::uintptr_t return_address(const registers& regs) noexcept;

/// Sends a function that is about to begin to libprobe_on_entry(), or to libprobe_on_replacement(), in
/// ordinary context; `word` will be the instruction pointer that it finds. Signal-safe.
void divert_to_entry(registers& regs, std::uintptr_t word) noexcept;
void divert_to_replacement(registers& regs, std::uintptr_t word) noexcept;

/// See return_slots.hpp.
bool is_return_slot(std::size_t number) noexcept;
/// A function that is about to begin, at `body`, will be called from the slot, as by call_from_detour().
/// Signal-safe.
void call_from_slot(registers& regs, std::uintptr_t body, std::size_t number) noexcept;
/// A function that has returned already (its result overridden) goes to the slot all the same. Signal-safe.
void return_to_slot(registers& regs, std::size_t number) noexcept;

/// Calls `entry` with the arguments in `regs` and `vectors` (as saved by the entry code; null: the vector
/// registers are as they shall be) and a copy of `stack_bytes` bytes of the argument area, so far as they are
/// there. Comes back at its return, or at return_early().
struct outcall {
  void* frame = nullptr;    // for return_early()
  void* vectors = nullptr;  // null: the result does not matter; else room for the extended state
  std::uint64_t rax = 0, rdx = 0;
};
void call_function(const void* entry, const registers& regs, const void* vectors, std::size_t stack_bytes,
                   outcall& call);
[[noreturn]] void return_early(outcall& call) noexcept;
/// The vector registers that arguments come in are the program's again, as a detour saved them.
void reload_vectors(const registers& regs, vector_use saved) noexcept;
/// As call_function(), and then regs and vectors are as if the function had just returned to its caller: the
/// registers in `result` are the function's, all others as they were.
void call_in_place(const void* entry, registers& regs, void* vectors, std::size_t stack_bytes,
                   result_registers result);

/// Reads the code of a handler, and of all that it calls directly, for what it can do to the extended state.
/// What cannot be followed may do everything. Control side.
vector_use vectors_used_by(std::uintptr_t function) noexcept;
/// True if the code of a function works with x87 or mm registers. In any other function their stack is empty,
/// or holds a result on its way to the caller (System V ABI, 3.2.1), and code that follows the ABI leaves it
/// so.
bool keeps_x87(std::span<const std::uint8_t> function) noexcept;

/// For the code that calls a site::direct_call: how far from the thread's base it finds the thread's state,
/// and where the current epoch is.
struct direct_words {
  std::int64_t reader, row, busy, runs;
  const void* epoch;
};

/// True in the code between a detour and the handlers.
bool in_detour_code(std::uintptr_t ip) noexcept;

/// For a thread that a signal has found between the two steps in which a replacement's run is counted and
/// written down (or the other way): does the second one, so that its handler may leave for good. Else
/// nothing.
void finish_step(ucontext_t& context) noexcept;

/// True if libc's jump buffers are laid out as longjmp_target() reads them: tried, by filling one. Control
/// side.
bool knows_jump_buffers() noexcept;
/// The stack pointer that longjmp() will restore from this buffer; 0 if that cannot be read. Signal-safe.
std::uintptr_t longjmp_target(std::uintptr_t buffer) noexcept;

/// Learns how much extended state there is, of enabled_state_components(). Before anything of this part is
/// used.
void prepare_ordinary(std::uint64_t components) noexcept;

/// As call_in_place(), where the vector registers are still the program's own; but the function has not been
/// left.
void call_live(const void* entry, registers& regs, std::size_t stack_bytes, result_registers result);

/// Calls handler(a, b, c). An exception that leaves it ends the process, as one that leaves a detour.
std::uint64_t call_confined(const void* handler, void* a, void* b, int c);

/// True if resuming by hand restores all that sigreturn would.
bool can_resume(const ucontext_t& context) noexcept;

}  // namespace libprobe::arch

extern "C" {
// In two steps that no signal's handler finds half done: see finish_step(). `shared`: other threads add to
// that count, too. All signal-safe.
/// Counts what was chosen to run, and notes it.
void libprobe_choose(void** chosen, void* what, int shared, std::uint64_t* begun) noexcept;
/// Notes its run, and that nothing is chosen any more: `none` is null.
void libprobe_begin_run(void** chosen, void* none, void** runs, void* run) noexcept;
/// Notes what was before, and counts the end.
void libprobe_end_run(void** noted, void* before, int shared, std::uint64_t* ended) noexcept;
/// Set before the first direct call.
extern libprobe::arch::direct_words libprobe_direct_words __attribute__((visibility("hidden")));
/// The signal handlers as the kernel calls them, in entry.S. The first resumes by hand when
/// libprobe_on_trap() returns non-zero, else by sigreturn.
void libprobe_trap_entry(int, siginfo_t*, void*);
void libprobe_fault_entry(int, siginfo_t*, void*);
void libprobe_signal_entry(int, siginfo_t*, void*);
void libprobe_hold_entry(int, siginfo_t*, void*);
void libprobe_restorer();
/// Frames that may still show where in libprobe's code the thread was: each handler's entry puts its own in
/// front. Linked by uc_link, which the kernel leaves to the program.
extern __thread ucontext_t* libprobe_untold __attribute__((tls_model("initial-exec"), visibility("hidden")));
/// In src/hit: called by these.
int libprobe_on_trap(int signo, siginfo_t* info, void* frame);
void libprobe_on_fault(int signo, siginfo_t* info, void* frame);
void libprobe_on_signal(int signo, siginfo_t* info, void* frame);
void libprobe_on_hold(int signo, siginfo_t* info, void* frame);
/// In src/hit: called in ordinary context. A function is about to begin; regs.ip() is the word that was
/// given. It goes on at regs.
void libprobe_on_entry(libprobe::registers* regs, void* vectors);
void libprobe_on_replacement(libprobe::registers* regs, void* vectors);
/// Where the personality routine of the return slots sends an exception. Its two data registers: the
/// exception, and where the true return address is saved.
void libprobe_unwound();
/// In src/hit: called there. The call that returns to this saved address has ended; where to go on as
/// _Unwind_Resume().
std::uintptr_t libprobe_on_unwound(const void* saved);
/// In src/hit: called by the code that emit_detour() wrote, in ordinary context. Non-zero: the program goes
/// on at regs, instead of the displaced instruction. `vectors` as in libprobe_on_entry(), null where they
/// were not saved whole; `saved` says what was (a vector_use).
int libprobe_on_detour(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_after(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_follow(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
int libprobe_on_detour_replace(libprobe::registers* regs, void* about, void* vectors, std::uint32_t saved);
/// A followed call has returned; regs.ip() is where it goes on.
void libprobe_on_return(libprobe::registers* regs, std::size_t number, void* vectors, std::uint32_t saved);
}
