// See arch/text.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace libprobe::arch {

inline constexpr std::size_t code_page = 4096;

inline void code_was_written(std::uintptr_t /*at*/, std::size_t /*size*/) noexcept {}  // caches are coherent

}  // namespace libprobe::arch
