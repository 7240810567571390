// Which bytes of a function are instructions, where looking at one after the other does not tell: data lies
// between them.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "arch/insn.hpp"

namespace libprobe::control {

/// Made by following a function's code from where it is known to begin: its start, its symbols, the targets
/// of its branches and of its jump tables. Control only; throws std::bad_alloc.
class code_map {
 public:
  /// What is known of a function beforehand, as offsets.
  struct marks {
    std::vector<std::size_t> code;     // it begins there
    std::vector<std::size_t> perhaps;  // a label without a type: so it does if nothing says that it is data
    struct range {
      std::size_t start, end;
      bool relocated;  // by the loader: data, or an operand
    };
    std::vector<range> data;
  };

  code_map(std::span<const std::uint8_t> bytes, std::uintptr_t start, const marks& known);

  enum class content : std::uint8_t {
    unknown,      // nothing leads there
    instruction,  // one begins there
    inside,       // of an instruction
    data,         // of a table, or as a symbol or a relocation says
  };
  [[nodiscard]] content at(std::size_t offset) const noexcept { return what_[offset]; }
  /// Something leads there.
  [[nodiscard]] bool is_target(std::size_t offset) const noexcept { return targets_[offset]; }
  [[nodiscard]] bool has_data() const noexcept { return has_data_; }

 private:
  void follow(std::size_t from);
  bool follow_one(std::size_t& at);
  bool look_for_tables();
  void note_table(const arch::jump_table& table);
  void mark_data(std::size_t from, std::size_t to) noexcept;
  [[nodiscard]] bool meets_data(std::size_t at, const arch::instruction& what) noexcept;
  void look_for_loads(std::size_t at);
  [[nodiscard]] bool is_loaded(std::size_t at) const noexcept;
  void settle();
  [[nodiscard]] std::vector<arch::placed_instruction> trail_to(std::size_t jump) const;

  std::span<const std::uint8_t> bytes_;
  std::uintptr_t start_;
  std::vector<content> what_;
  std::vector<bool> targets_;  // something leads there
  std::vector<marks::range> relocated_;
  std::vector<std::size_t> to_follow_;
  std::vector<std::size_t> jumps_;  // indirect ones whose tables are not known yet
  std::vector<arch::placed_instruction> loads_;
  std::vector<std::size_t> may_be_loaded_;  // by code behind labels
  bool has_data_ = false;
};

}  // namespace libprobe::control
