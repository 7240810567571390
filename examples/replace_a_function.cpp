// A clock for tests: everything in the program that asks for the time gets ours, and the real one is a call
// away.
#include <chrono>
#include <cstdio>
#include <ctime>
#include <libprobe/libprobe.hpp>

int main() {
  using namespace std::chrono;
  const auto before = system_clock::now();
  {
    const auto an_hour_on = libprobe::replace<int(clockid_t, timespec*)>(
        "libc.so.6:clock_gettime", [](auto original, clockid_t clock, timespec* out) {
          const int result = original(clock, out);
          if (clock == CLOCK_REALTIME) out->tv_sec += 3600;
          return result;
        });
    const auto shifted = duration_cast<minutes>(system_clock::now() - before);
    std::printf("%lld minutes later\n", static_cast<long long>(shifted.count()));
    if (shifted < minutes{60} || an_hour_on.hits() == 0) return 1;
  }
  return system_clock::now() - before < minutes{59} ? 0 : 1;  // gone with its handle
}
