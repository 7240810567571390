// How many threads there may be; tests/interleavings has a header of its own in the place of this one.
#pragma once

#include <cstddef>

namespace libprobe::epoch::detail {

inline constexpr std::size_t record_count = 16384;  // threads at once; the sections of more are only counted
/// From so many records on a new thread looks first for some that belong to threads that have ended.
inline constexpr std::size_t worth_a_look = 32;
/// At so many.
inline constexpr std::size_t looks = 8;

}  // namespace libprobe::epoch::detail
