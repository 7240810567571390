// Functions' original bytes and where their instructions begin.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "arch/arch.hpp"

namespace libprobe::control {

/// Decodes functions from their start, and remembers the last few, since probes come in dense groups.
/// Control only, under its lock.
class function_text {
 public:
  /// The instruction at the address, with its original bytes whatever breakpoints stand there now.
  /// not_instruction_boundary, unknown_function, undecodable_instruction, not_executable.
  result<arch::instruction> instruction_at(std::uintptr_t address, std::string& detail);

  /// True at a function's first instruction, an endbr before it not counted. Code of no module has no other
  /// than those asked for.
  bool is_entry(std::uintptr_t address);

  /// Somebody else changed text: nothing remembered can be trusted.
  void forget() noexcept { functions_.clear(); }

 private:
  struct function {
    std::uintptr_t start = 0;
    std::vector<std::uint8_t> bytes;
    std::vector<bool> boundaries;
    std::size_t decoded = 0;  // boundaries are known below this offset
    bool stuck = false;       // no instruction there
    std::uint64_t last_used = 0;
  };

  result<function*> load(std::uintptr_t address, std::string& detail);
  static result<arch::instruction> lone_instruction_at(std::uintptr_t address, std::string& detail);
  static void decode_up_to(function& in, std::size_t offset);
  static bool read_original(std::uintptr_t from, std::span<std::uint8_t> to);

  std::vector<function> functions_;
  std::uint64_t clock_ = 0;
  std::uint64_t generation_ = 0;
};

}  // namespace libprobe::control
