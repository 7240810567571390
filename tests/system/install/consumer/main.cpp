// A program of somebody who has libprobe installed: probes its own function, and must not get at libprobe's.
#include <cstdio>
#include <libprobe/libprobe.hpp>

namespace {

[[gnu::noinline]] int twice(int x) {
  asm volatile("" : "+r"(x));
  return 2 * x;
}

bool check(bool good, const char* what) {
  if (!good) std::printf("failed: %s\n", what);
  return good;
}

}  // namespace

int main() {
  libprobe::probe mine{.at = &twice, .pre_handler = [](libprobe::probe&, libprobe::registers&) { return 0; }};
  libprobe::probe own{.at = &libprobe::register_probe, .pre_handler = mine.pre_handler};
  bool good = check(!libprobe::register_probe(mine), "a function of the program's is probed");
  good = check(twice(21) == 42, "the probed function works") && good;
  good = check(libprobe::hits(mine) == 1, "the probe was hit") && good;
  good =
      check(libprobe::register_probe(own) == libprobe::errc::denied_address, "libprobe's text is refused") &&
      good;
  libprobe::unregister_probe(mine);
  return good ? 0 : 1;
}
