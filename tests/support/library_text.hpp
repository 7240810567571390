// The functions of a loaded library, to take real instructions from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace library_text {

struct function {
  std::string name;  // empty where only the unwind tables know it
  std::uintptr_t start = 0;
  std::size_t size = 0;
  [[nodiscard]] std::span<const std::uint8_t> code() const {
    return {reinterpret_cast<const std::uint8_t*>(start), size};
  }
};

/// Loads the library for good. All functions with a size in its symbol tables, by address; empty if the
/// library is not there. Function pieces that share an address come once.
std::vector<function> functions_of(const char* soname);

/// What the unwind tables (.eh_frame, by way of symbols::function_at()) call a function, all over the
/// library's text. Null: the program's own.
std::vector<function> unwind_functions_of(const char* soname);

}  // namespace library_text
