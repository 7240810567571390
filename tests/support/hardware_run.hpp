// One run on the CPU and what came out of it; the floor below hardware.hpp.
#pragma once

#include <string>

#include "hardware.hpp"

namespace hardware {

struct fault {
  int signo = 0;  // 0: none
  int code = 0;
  std::uint64_t address = 0, error = 0, trap = 0, cr2 = 0;
};

struct outcome {
  std::uint64_t landed = 0;
  cpu_state out{};  // rip is meaningful for faults only
  fault raised;
  std::vector<std::uint8_t> vectors;  // an XSAVE area, made comparable
  std::vector<std::uint8_t> memory;   // stack, scratch, thread-local
};

void map_areas();
void install_fault_handlers();
outcome run(const trial& t, bool far);
/// What differs, in words; empty if nothing does.
std::string difference(const outcome& expected, const outcome& got, std::uintptr_t initial_rsp);
bool on_stack(std::uintptr_t address);

}  // namespace hardware
