// Functions' original bytes and where their instructions begin.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "arch/insn.hpp"
#include "arch/patch.hpp"
#include "control/code_map.hpp"

namespace libprobe::control {

/// Decodes functions from their start and their symbols, and remembers the last few, since probes come in
/// dense groups. Control only, under its lock.
class function_text {
 public:
  /// The instruction at the address, with its original bytes whatever breakpoints stand there now. `pointed`:
  /// a function pointer of the user's leads there.
  /// not_instruction_boundary, data_in_text, unknown_function, undecodable_instruction, not_executable.
  result<arch::instruction> instruction_at(std::uintptr_t address, bool pointed, std::string& detail);

  /// The instructions from an address on that a jump there might displace, and what is known of branches to
  /// them. False outside of functions: such code may be made anew at any time.
  struct ground {
    std::array<arch::instruction, arch::most_members> instructions;
    std::size_t count = 0;
    arch::window_bytes bytes;
    std::size_t size = 0;
    std::uint32_t landings = 0;
  };
  bool ground_at(std::uintptr_t address, ground& to);

  /// A debugger's breakpoint stands on top of the instruction there.
  bool is_covered(std::uintptr_t address);

  /// See arch::keeps_more_than_vectors().
  bool keeps_more_than_vectors(std::uintptr_t address);

  /// True at a function's first instruction, an endbr before it not counted: where its symbol is, or another
  /// symbol in it, or where a function pointer leads. Code of no module has no other than those asked for.
  bool is_entry(std::uintptr_t address, bool pointed);
  /// True at the first instruction of all that belongs together: nothing comes there but by a call. (Another
  /// entry may be fallen into, with flags in use.)
  bool is_only_called(std::uintptr_t address);

  /// A registration begins: text may have changed since the last one.
  void look_again() noexcept { near_.clear(); }
  /// Somebody else changed text: nothing remembered can be trusted.
  void forget() noexcept { functions_.clear(); }

 private:
  struct function {
    std::uintptr_t start = 0;
    std::vector<std::uint8_t> bytes;
    std::array<std::uint8_t, 2 * arch::max_instruction_length> behind;  // what follows the function
    std::size_t behind_size = 0;
    std::vector<bool> boundaries;
    std::optional<arch::branch_targets> targets;  // not there: not looked for yet
    std::size_t decoded = 0;                      // boundaries are known below this offset
    bool stuck = false;                           // no instruction there
    code_map::marks marks;
    std::vector<std::size_t> entries;  // symbols
    std::optional<code_map> map;       // where one instruction after the other does not tell
    std::optional<bool> keeps_more_than_vectors;
    std::uint64_t last_used = 0;
  };

  result<function*> load(std::uintptr_t address, std::string& detail);
  result<arch::instruction> lone_instruction_at(std::uintptr_t address, std::string& detail);
  result<arch::instruction> decode_at(std::uintptr_t address, bool pointed, std::string& detail);
  bool is_stale(std::uintptr_t address);
  static void find_marks(function& in);
  static void make_map(function& in) { in.map.emplace(in.bytes, in.start, in.marks); }
  static void decode_up_to(function& in, std::size_t offset);
  static errc begins_instruction(function& in, std::size_t offset);
  static void find_targets(function& in);
  bool read(std::uintptr_t from, std::span<std::uint8_t> to);
  bool read_original(std::uintptr_t from, std::span<std::uint8_t> to);
  bool read_without_probes(std::uintptr_t from, std::span<std::uint8_t> to);

  std::vector<function> functions_;
  std::vector<std::uint8_t> near_;  // text around the last place that was read: the next is not far
  std::uintptr_t near_start_ = 0;
  std::uint64_t clock_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace libprobe::control
