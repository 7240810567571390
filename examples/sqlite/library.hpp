// What a loaded library exports, and the instructions of its functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace library {

struct function {
  std::string name;
  std::uintptr_t start = 0;
  std::size_t size = 0;
};

struct instruction {
  std::uintptr_t address = 0;
  std::string text;  // Intel syntax
};

struct image {
  std::string path;
  std::string file_name;
  std::uintptr_t text_start = 0;  // of the executable segment
  std::uintptr_t text_end = 0;
  std::vector<function> functions;  // exported, by name

  [[nodiscard]] bool holds(std::uintptr_t address) const noexcept {
    return address - text_start < text_end - text_start;
  }
};

/// The loaded library that defines the symbol, as its own file and the loader tell it. Throws
/// std::runtime_error.
image defining(const char* symbol);

/// The function's bytes as they are now: call it before probes are placed. Throws std::runtime_error where
/// the bytes are no instructions.
std::vector<instruction> disassemble(const function& of);

}  // namespace library
