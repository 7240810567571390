// What gdb is shown: nested calls, followed or not, that end in a stop. usage: target plain|probed
#include <array>
#include <csignal>
#include <cstdio>
#include <libprobe/libprobe.hpp>
#include <string_view>

namespace {

volatile int sum = 0;

[[gnu::noinline]] void stop_here() {
  raise(SIGUSR1);
  sum = sum + 1;
}
[[gnu::noinline]] void innermost() {
  stop_here();
  sum = sum + 1;
}
[[gnu::noinline]] void third(int) {
  innermost();
  sum = sum + 1;
}
[[gnu::noinline]] void second(int depth) {
  if (depth == 0) {
    third(0);
  } else {
    second(depth - 1);
  }
  sum = sum + 1;
}
[[gnu::noinline]] void first() {
  second(1);
  sum = sum + 1;
}

int returns = 0;
void count(libprobe::retprobe_instance&, libprobe::registers&) { ++returns; }

}  // namespace

int main(int argc, char** argv) {
  const bool probed = argc == 2 && argv[1] == std::string_view{"probed"};
  signal(SIGUSR1, SIG_IGN);
  std::array<libprobe::retprobe, 4> probes{{{.at = &innermost, .handler = count},
                                            {.at = &third, .handler = count},
                                            {.at = &second, .handler = count},
                                            {.at = &first, .handler = count}}};
  if (probed) {
    for (auto& one : probes) {
      if (libprobe::register_retprobe(one)) return 1;
    }
  }
  first();
  std::printf("returns: %d\n", returns);
}
