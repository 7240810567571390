// A program with a mistake that a sanitizer must find, in a function and a thread under probe.
// usage: sanitized overflow|race
#include <string_view>

#include "support/whole_cycle.hpp"

namespace {

[[gnu::noinline]] long sum_of(const long* numbers, int count) {
  long sum = 0;
  for (int i = 0; i <= count; ++i) sum += numbers[i];  // one too many
  return sum;
}

long shared = 0;
[[gnu::noinline]] void add_to_shared() { shared = shared + 1; }

int nothing(libprobe::probe&, libprobe::registers&) { return 0; }

}  // namespace

int main(int argc, char** argv) {
  if (const int wrong = libprobe::test::reported(libprobe::test::whole_cycle())) return wrong;
  libprobe::probe first{.at = &sum_of, .pre_handler = nothing, .flags = libprobe::test::cycle::how()};
  libprobe::probe second{.at = &add_to_shared, .pre_handler = nothing, .flags = libprobe::test::cycle::how()};
  libprobe::retprobe third{.at = &sum_of,
                           .handler = [](libprobe::retprobe_instance&, libprobe::registers&) {},
                           .flags = libprobe::test::cycle::how()};
  if (libprobe::register_probe(first) || libprobe::register_probe(second) ||
      libprobe::register_retprobe(third))
    return 2;
  if (argc == 2 && argv[1] == std::string_view{"overflow"}) {
    const auto* numbers = new long[4]{};
    return sum_of(numbers, 4) == 0 ? 3 : 4;
  }
  std::thread other{[] {
    for (int i = 0; i < 1000; ++i) add_to_shared();
  }};
  for (int i = 0; i < 1000; ++i) add_to_shared();
  other.join();
  return 0;
}
