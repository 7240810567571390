// The CPU as the oracle: runs single instructions from a chosen state, natively and under a probe, and says
// where the outcomes differ. All integer registers, flags, x87, SSE, AVX and AVX-512 state, a stack and a
// scratch area are loaded before and compared after; faults are compared by their signal, siginfo and
// register state.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "arch/arch.hpp"

namespace hardware {

using rng = std::mt19937_64;

// As instructions encode them: Intel SDM vol. 2, table 3-1.
enum reg : unsigned { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };

constexpr std::uint64_t carry = 1U << 0, parity = 1U << 2, adjust = 1U << 4, zero = 1U << 6, sign = 1U << 7,
                        direction = 1U << 10, overflow = 1U << 11;
constexpr std::uint64_t fixed_flags = 0x202;  // bit 1 and IF, which user mode always sees set

struct cpu_state {
  std::uint64_t gpr[16];
  std::uint64_t rflags;
  std::uint64_t rip;
};

/// The n-th combination (0..127) of the six arithmetic flags and DF.
std::uint64_t flag_combination(unsigned n) noexcept;

/// Fixed places in the low 2 GiB, so that absolute and 32-bit addresses reach them; and a second set of code
/// and data 256 GiB up, with nothing to be mapped within 2 GiB of it, so that its copies run far from their
/// operands.
struct place {
  std::uintptr_t code, scratch;
};
inline constexpr std::size_t scratch_size = 32 * 1024;
/// Maps everything and installs the fault handlers; call before libprobe is used. Pins the thread to one CPU.
void prepare();
const place& near_place();
const place& far_place();
std::uintptr_t stack_pointer();  // the middle of the stack; 8 KiB above it are compared
std::uintptr_t unmapped();       // an address in the low 2 GiB where nothing is
std::uintptr_t tls_base();       // of the fs segment
std::uintptr_t tls_offset();     // of 256 scratch bytes from it; a sign-extended 32-bit number
bool on_compared_stack(std::uintptr_t address);

struct memory_word {
  std::uintptr_t address;
  std::uint64_t value;
};

/// One run of one instruction.
struct trial {
  cpu_state in{};
  std::uint64_t seed = 0;  // of vector registers and memory
  std::vector<memory_word> words;
  bool small_vectors = false;   // vector elements are small numbers: indices of gathers
  bool floating_traps = false;  // SSE exceptions are unmasked
};
trial random_trial(rng& random);

/// An instruction to be tried. `pads` are the addresses from which the landing places are reached: 0 is the
/// next instruction.
struct subject {
  std::string name;
  std::uintptr_t address = 0;
  std::array<std::uintptr_t, 3> pads{};
  std::vector<trial> trials;
  bool far = false;  // its memory operands lie in the far place
};

/// Code memory is handed out from `where` and never twice.
std::uint8_t* take_code(const place& where, std::size_t size);
/// Writes a jump to landing place `number`, that changes no register and no flag.
constexpr std::size_t pad_size = 21;
void write_pad(std::uintptr_t at, unsigned number);
/// The bytes with landing place 0 behind them.
subject place_instruction(std::string name, std::span<const std::uint8_t> bytes,
                          const place& where = near_place());

/// Gives the base and index registers of the memory operand values that let it point to `target` (or near it:
/// bits below the scale may change). The displacement of an operand without registers is taken to be right
/// already. Returns the address that the operand has then.
std::uintptr_t aim(const libprobe::arch::instruction& what, std::uintptr_t target, trial& t, rng& random);

/// How a probed run is done.
enum class way : std::uint8_t {
  plain,       // a pre_handler: emulation, or the copy that jumps back
  after,       // and a post_handler: the copy that traps again
  step,        // single_step
  step_after,  // single_step and a post_handler that changes r15
  changed,     // the program has other registers and flags; the pre_handler puts the right ones in
};
inline constexpr way all_ways[] = {way::plain, way::after, way::step, way::step_after, way::changed};

struct tally {
  std::size_t subjects = 0, refused = 0, runs = 0, faults = 0, skipped = 0, failures = 0;
  std::array<std::size_t, 3> methods{};  // by displaced::method, as planned without single_step
  tally& operator+=(const tally& more);
};
void print(const char* what, const tally& sum);

/// Runs every trial natively, then probed in each of the ways, and reports each difference as a test failure
/// (the first few in words). Instructions that arch::plan() refuses are counted and left alone.
tally compare_with_hardware(std::span<subject> subjects, std::span<const way> ways = all_ways);

std::string hex(std::span<const std::uint8_t> bytes);

}  // namespace hardware
