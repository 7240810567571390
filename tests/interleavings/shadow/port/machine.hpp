// In the place of the port's machine.hpp: waiting and system calls are the model's, all else is as it is.
#pragma once

#define cpu_relax cpu_relax_of_machine
#define system_call system_call_of_machine
#include_next "port/machine.hpp"
#undef cpu_relax
#undef system_call

#include "interleavings/model.hpp"

namespace libprobe::arch {

inline void cpu_relax() noexcept { model::spin(); }
/// As the scenario has it.
long system_call(long number, long a, long b, long c, long d, long e, long f) noexcept;

}  // namespace libprobe::arch
