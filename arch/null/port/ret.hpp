// See arch/ret.hpp.
#pragma once

#include <cstddef>

namespace libprobe::arch {

inline constexpr std::size_t return_slot_count = 2048;  // none of which there is
inline constexpr std::size_t return_word = 0;

}  // namespace libprobe::arch
