// Places to probe as a tracer of everything would choose them: every instruction of one function after
// another.
#pragma once

#include <cstdint>
#include <vector>

/// Hands out instructions of libsqlite3 in order of address, each once, as many as there are.
class dense_sites {
 public:
  dense_sites();
  /// The next `count` places; fewer at the end of the library.
  std::vector<std::uintptr_t> next(std::size_t count);

 private:
  bool load_function();

  std::uintptr_t end_;
  std::uintptr_t function_;  // where to look for the next one
  std::vector<std::uintptr_t> pending_;
};
