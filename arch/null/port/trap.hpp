// See arch/trap.hpp.
#pragma once

#include <cstddef>

namespace libprobe::arch {

inline constexpr std::size_t red_zone = 0;

struct fault_words {};

}  // namespace libprobe::arch
