// In the place of arch's machine.hpp: waiting and system calls are the model's, all else is as it is.
#pragma once

#define cpu_relax cpu_relax_of_machine
#define system_call system_call_of_machine
#include_next "machine.hpp"
#undef cpu_relax
#undef system_call

#include "interleavings/model.hpp"

namespace libprobe::arch {

inline void cpu_relax() noexcept { model::spin(); }
/// As the scenario has it.
long system_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                 long f = 0) noexcept;

}  // namespace libprobe::arch
