// The probed instruction reads through a bad pointer. The fault_handler gives it a good one, and the
// instruction runs again.
#include <csignal>
#include <cstdio>
#include <libprobe/libprobe.hpp>

extern "C" long read_number(const long* from);
asm(R"(
        .text
        .globl read_number
        .type read_number, @function
read_number:
        movq  (%rdi), %rax
        ret
        .size read_number, .-read_number
)");

namespace {

const long instead = 42;

bool mend(libprobe::probe& /*unused*/, libprobe::registers& regs, int signo) {
  if (signo != SIGSEGV) return false;  // the program's own handler, or death
  regs.set_argument(0, &instead);
  return true;
}

}  // namespace

int main() {
  libprobe::probe guard{.at = &read_number, .fault_handler = mend};
  if (const auto error = libprobe::register_probe(guard)) {
    std::printf("refused: %s\n", error.message().c_str());
    return 1;
  }
  const long good = 7;
  const long from_good = read_number(&good);
  const long from_null = read_number(nullptr);
  std::printf("%ld, and %ld in place of a crash\n", from_good, from_null);
  return from_good == 7 && from_null == 42 ? 0 : 1;
}
