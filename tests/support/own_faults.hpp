// In a test's only source file: the sanitizers' own fault handlers would stand where it wants the program's,
// or the default action.
#pragma once

extern "C" {
const char* __asan_default_options() {
  return "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0";
}
const char* __tsan_default_options() { return __asan_default_options(); }
}
