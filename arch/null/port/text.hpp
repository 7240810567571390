// See arch/text.hpp.
#pragma once

#include <cstddef>

namespace libprobe::arch {

inline constexpr std::size_t code_page = 65536;  // the largest that Linux has

}  // namespace libprobe::arch
