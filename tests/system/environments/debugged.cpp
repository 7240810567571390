// A program that a debugger comes to and leaves: threads in probed code, and one that tells how often the
// probes were hit whenever it is asked by a line of input. At the end of input every call must have been
// seen. usage: debugged THREADS
#include <signal.h>
#include <sys/prctl.h>

#include "support/whole_cycle.hpp"

volatile long calls_seen = 0;  // for the debugger, by a name that it finds everywhere

namespace {

using namespace libprobe;
using test::flaw;

std::atomic<bool> stop{false};
std::atomic<long> calls{0};

/// Where the debugger's own breakpoints are; at the second is a probe, too. With room for a jump.
[[gnu::noinline]] void marker() { asm volatile("nopl 0x1000(%%rax)" ::: "memory"); }
[[gnu::noinline]] void second_marker() { asm volatile("nopl 0x1001(%%rax)" ::: "memory"); }

flaw run(int threads) {
  using namespace test::cycle;
  signal(SIGUSR1, SIG_IGN);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  probe p{.at = &sum, .pre_handler = [](probe&, registers&) { return 0; }};
  retprobe r{.at = &sum, .handler = [](retprobe_instance&, registers&) {}};
  probe m{.at = &second_marker, .pre_handler = [](probe&, registers&) { return 0; }};
  HOLDS(!register_probe(p));
  HOLDS(!register_retprobe(r));
  HOLDS(!register_probe(m));
  const char* const wanted = std::getenv("LIBPROBE_NO_JUMPS");
  if (wanted == nullptr || *wanted == '0') {
    for (const auto& row : list_probes()) HOLDS(row.jump);
  }
  std::atomic<long> marks{0}, wrong{0};
  const auto work = [&](bool marking) {
    while (!stop) {
      wrong += sum(1, 2) != 3;
      calls_seen = ++calls;
      if (!marking) continue;
      marker();
      second_marker();
      ++marks;
      raise(SIGUSR1);  // ignored, but a debugger may stop there
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
  };
  std::thread first{work, true}, second;
  if (threads > 1) second = std::thread{work, false};
  char line[16];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    std::printf("%lu\n", static_cast<unsigned long>(hits(p)));
    std::fflush(stdout);
  }
  stop = true;
  first.join();
  if (second.joinable()) second.join();
  HOLDS(wrong == 0);
  HOLDS(hits(p) + nmissed(p) == static_cast<unsigned long>(calls));
  HOLDS(nmissed(p) == 0 && hits(r) == static_cast<unsigned long>(calls));
  HOLDS(hits(m) == static_cast<unsigned long>(marks));
  std::puts("every call was seen");
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) { return test::reported(run(argc == 2 ? std::atoi(argv[1]) : 1)); }
