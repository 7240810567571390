// What greenlets.py calls: functions that call back into Python, where greenlets are switched in the middle
// of them; and the probes that follow these functions.
#include <atomic>
#include <cstdio>
#include <libprobe/libprobe.hpp>

#define EXPORTED extern "C" [[gnu::visibility("default"), gnu::noinline]]

using callback = long (*)(long);

EXPORTED long through(callback call, long n) {
  volatile long kept = n;
  const long result = call(n);
  return kept == n ? result + 1 : -1'000'000;
}
EXPORTED long deeper(callback call, long n, long depth) {
  long (*volatile self)(callback, long, long) = deeper;
  volatile long kept = n + depth;
  const long result = depth == 0 ? call(n) : self(call, n, depth - 1);
  return kept == n + depth ? result + 1 : -1'000'000;
}

namespace {

using namespace libprobe;

struct counts {
  std::atomic<unsigned long> begun{0}, returned{0}, unwound{0};
};
counts of_function[2];

counts& of(retprobe_instance& i) { return *static_cast<counts*>(i.probe().context); }
int begins(retprobe_instance& i, registers&) {
  ++of(i).begun;
  return 0;
}
void returns(retprobe_instance& i, registers&) { ++of(i).returned; }
void unwinds(retprobe_instance& i) { ++of(i).unwound; }

retprobe probes[2];
latency times[2];

bool good(const std::error_code& refused, const char* what) {
  if (refused) std::fprintf(stderr, "%s: %s\n", what, last_error_detail().c_str());
  return !refused;
}

}  // namespace

/// Follows both functions from here on; false: it cannot be done, and why is printed.
EXPORTED bool follow(unsigned long maxactive) {
  const location places[2] = {&through, &deeper};
  bool all = true;
  for (int i = 0; i < 2; ++i) {
    of_function[i].begun = of_function[i].returned = of_function[i].unwound = 0;
    probes[i].at = times[i].at = places[i];
    probes[i].entry_handler = begins;
    probes[i].handler = returns;
    probes[i].unwind_handler = unwinds;
    probes[i].context = &of_function[i];
    probes[i].maxactive = times[i].maxactive = maxactive;
    all =
        good(register_retprobe(probes[i]), "retprobe") && good(register_latency(times[i]), "latency") && all;
  }
  return all;
}
/// Of a function's calls, as the retprobe tells and then the latency: those that began, returned, were
/// unwound (the retprobe's only), and were missed.
EXPORTED void seen(int function, unsigned long* retprobe_tells, unsigned long* latency_tells) {
  const auto& c = of_function[function];
  retprobe_tells[0] = c.begun;
  retprobe_tells[1] = c.returned;
  retprobe_tells[2] = c.unwound;
  retprobe_tells[3] = nmissed(probes[function]);
  latency_tells[0] = hits(times[function]);
  latency_tells[1] = latencies_of(times[function]).count();
  latency_tells[2] = 0;
  latency_tells[3] = nmissed(times[function]);
}
EXPORTED void unfollow() {
  for (auto& one : probes) unregister_retprobe(one);
  for (auto& one : times) unregister_latency(one);
}
EXPORTED bool by_jumps() {
  for (const auto& row : list_probes()) {
    if (!row.jump) return false;
  }
  return true;
}
