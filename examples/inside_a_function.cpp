// A probe at an instruction inside a function: a post_handler sees what that one instruction did.
#include <cstdio>
#include <libprobe/libprobe.hpp>

// The sum of n, n-1, ... 1.
extern "C" long sum_down(long n);
asm(R"(
        .text
        .globl sum_down
        .type sum_down, @function
sum_down:
        xorl  %eax, %eax         # +0x0
0:      addq  %rdi, %rax         # +0x2
        decq  %rdi               # +0x5
        jnz   0b
        ret
        .size sum_down, .-sum_down
)");

namespace {

struct additions {
  std::uint64_t before = 0;
  int count = 0;
  bool right = true;
};

int remember(libprobe::probe& p, libprobe::registers& regs) {
  static_cast<additions*>(p.context)->before = regs.rax;
  return 0;
}

void compare(libprobe::probe& p, libprobe::registers& regs) {
  auto& seen = *static_cast<additions*>(p.context);
  seen.right = seen.right && regs.rax == seen.before + regs.rdi;
  ++seen.count;
}

}  // namespace

int main() {
  additions seen;
  libprobe::probe addition{
      .at = "sum_down+0x2", .pre_handler = remember, .post_handler = compare, .context = &seen};
  if (const auto error = libprobe::register_probe(addition)) {
    std::printf("refused: %s: %s\n", error.message().c_str(), libprobe::last_error_detail().c_str());
    return 1;
  }
  // One byte further no instruction begins.
  libprobe::probe astray{.at = "sum_down+0x3", .pre_handler = remember};
  const auto refused = libprobe::register_probe(astray);
  std::printf("sum_down+0x3: %s\n", refused.message().c_str());

  const long sum = sum_down(100);
  std::printf("sum %ld in %d additions\n", sum, seen.count);
  return sum == 5050 && seen.count == 100 && seen.right && refused == std::errc::illegal_byte_sequence ? 0
                                                                                                       : 1;
}
