// Where a function's result is, by its type. The CPU's own; see the included header, which has
//
//   place_of_result_is_argument<R>()  the caller says before all arguments where it shall be
//   result_registers_of<R>()   the registers that a replacement's result comes in
//   comes_in_registers<R>()    result_in() finds it
//   result_in<R>(registers&)   the result of a function that has just returned
//   register_result<R>         a concept: results that on_return() takes
#pragma once

#if defined(LIBPROBE_NULL)
#include <libprobe/results_null.hpp>
#elif defined(__x86_64__)
#include <libprobe/results_x86_64.hpp>
#endif
