// See arch/call.hpp.
#pragma once

#include <cstdint>

namespace libprobe::arch {

struct outcall {
  void* frame = nullptr;    // for return_early()
  void* vectors = nullptr;  // null: the result does not matter; else room for the extended state
  std::uint64_t rax = 0, rdx = 0;
};

}  // namespace libprobe::arch
