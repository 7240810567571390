// Two followed calls between two stops. Not linked with libunwind: the tracer is.
#include <unistd.h>

#include <csignal>
#include <libprobe/libprobe.hpp>

#include "system/retprobe_steps_tracee.hpp"

namespace {

volatile int sum = 0;

void on_return(libprobe::retprobe_instance&, libprobe::registers&) { sum = sum + 1; }

[[gnu::noinline]] void inner() { sum = sum + 1; }
[[gnu::noinline]] void outer() {
  inner();
  sum = sum + 1;
}
[[gnu::noinline]] void caller(int before, int after) {
  if (before != 0) raise(before);
  outer();
  if (after != 0) raise(after);
  sum = sum + 1;
}

template <class Function>
std::uintptr_t address(Function* function) {
  return reinterpret_cast<std::uintptr_t>(function);
}

}  // namespace

// main() may be named by nobody but the linker.
extern "C" [[gnu::noinline]] int program(int probes) {
  libprobe::retprobe first{.at = &outer, .handler = on_return};
  libprobe::retprobe second{.at = &inner, .handler = on_return};
  if (probes > 0 && libprobe::register_retprobe(first)) return 1;
  if (probes > 1 && libprobe::register_retprobe(second)) return 1;
  caller(0, 0);  // what is done once, such as the dynamic linker's work, is done
  const stepped::places places{address(&program), address(&caller), address(&outer), address(&inner),
                               address(&on_return)};
  if (write(STDOUT_FILENO, &places, sizeof places) != sizeof places) return 1;
  caller(SIGSTOP, SIGSTOP);
  sum = sum + 1;
  return 0;
}

int main(int argc, char**) { return program(argc - 1); }
