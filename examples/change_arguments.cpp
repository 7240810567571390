// A handler reads a function's arguments at its entry, and changes them.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <libprobe/libprobe.hpp>

namespace {

[[gnu::noipa]] double price(int pieces, double each, const char* customer) {
  return pieces * each * (std::strcmp(customer, "staff") == 0 ? 0.9 : 1.0);
}

int at_most_ten(libprobe::probe& /*unused*/, libprobe::registers& regs) {
  // Integers and pointers are counted apart from float and double: `customer` is the second of its class.
  const auto pieces = regs.argument<int>(0);
  const auto each = regs.argument<double>(0);
  const auto* customer = regs.argument<const char*>(1);
  if (pieces > 10) regs.set_argument(0, 10);
  if (each < 1.0) regs.set_argument(0, 1.0);
  if (*customer == '\0') regs.set_argument(1, "staff");
  return 0;
}

}  // namespace

int main() {
  libprobe::probe limit{.at = &price, .pre_handler = at_most_ten};
  if (const auto error = libprobe::register_probe(limit)) {
    std::printf("refused: %s\n", error.message().c_str());
    return 1;
  }
  const double limited = price(100, 0.5, "");
  libprobe::unregister_probe(limit);
  const double free = price(100, 0.5, "");

  std::printf("limited %.2f, free %.2f\n", limited, free);
  return std::abs(limited - 9.0) < 1e-9 && std::abs(free - 50.0) < 1e-9 ? 0 : 1;
}
