// Who called whom, as unwinders tell it: instruction pointers, the innermost first.
#pragma once

#define UNW_LOCAL_ONLY
#include <execinfo.h>
#include <libunwind.h>

#include <array>
#include <cstdint>
#include <vector>

namespace libprobe::test {

using addresses = std::vector<std::uintptr_t>;
inline constexpr std::size_t most_frames = 200;

/// By a function like backtrace(). Inlined: the first frame is the caller's.
[[gnu::always_inline]] inline addresses callers_by(int (*walk)(void**, int)) {
  std::array<void*, most_frames> found{};
  const auto count = static_cast<std::size_t>(walk(found.data(), most_frames));
  addresses all;
  for (std::size_t i = 0; i < count; ++i) all.push_back(reinterpret_cast<std::uintptr_t>(found[i]));
  return all;
}
inline addresses by_backtrace() { return callers_by(backtrace); }

inline addresses by_libunwind() {
  unw_context_t context;
  unw_cursor_t cursor;
  unw_getcontext(&context);
  unw_init_local(&cursor, &context);
  addresses all;
  do {
    unw_word_t ip = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &ip);
    if (ip != 0) all.push_back(ip);
  } while (all.size() < most_frames && unw_step(&cursor) > 0);
  return all;
}

}  // namespace libprobe::test
