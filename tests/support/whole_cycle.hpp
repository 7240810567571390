// Everything that libprobe does, once: for programs that see whether it works where they are. Needs no test
// framework.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <string>
#include <thread>

namespace libprobe::test {

/// Where something did not hold; null: all is well.
using flaw = const char*;
#define WHOLE_CYCLE_TEXT_OF(line) #line
#define WHOLE_CYCLE_LINE(line) WHOLE_CYCLE_TEXT_OF(line)
#define HOLDS(condition) \
  if (!(condition)) return __FILE__ ":" WHOLE_CYCLE_LINE(__LINE__) ": " #condition

namespace cycle {

inline volatile long offset = 0;

[[gnu::noinline, gnu::noclone]] inline long sum(long a, long b) { return a + b + offset; }
[[gnu::noinline, gnu::noclone]] inline double scaled(double x, long n) {
  return x * static_cast<double>(n + offset);
}
[[gnu::noinline, gnu::noclone]] inline long loop(long n) {
  long total = 0;
  for (long i = 1; i <= n; ++i) total += i + offset;
  return total;
}

/// For threads that run beside.
[[gnu::noinline, gnu::noclone]] inline long other(long n) { return n - offset; }

inline std::string bytes_of(const void* code) { return {static_cast<const char*>(code), 16}; }
template <class R, class... A>
const void* text_of(R (*function)(A...)) {
  return reinterpret_cast<const void*>(function);
}

inline long seen = 0;

/// CYCLE_TRAPS: the program's own probes are breakpoints, but not what libprobe puts up for itself.
inline probe_flags how() {
  return std::getenv("CYCLE_TRAPS") != nullptr ? probe_flags::no_jump : probe_flags::none;
}

}  // namespace cycle

/// Probes by address and on libc, with handlers before and after.
inline flaw plain_probes() {
  using namespace cycle;
  const auto before = bytes_of(text_of(&sum));
  const auto others = list_probes().size();
  seen = 0;
  long after = 0;
  probe own{.at = &sum,
            .pre_handler =
                [](probe&, registers& regs) {
                  seen += regs.argument<long>(1);
                  return 0;
                },
            .post_handler = [](probe& p, registers&) { ++*static_cast<long*>(p.context); },
            .flags = how(),
            .context = &after};
  probe inner{.at = &loop, .pre_handler = [](probe&, registers&) { return 0; }, .flags = how()};
  probe libc{.at = static_cast<char* (*)(const char*)>(&getenv),
             .pre_handler = [](probe&, registers&) { return 0; },
             .flags = how()};
  HOLDS(!register_probe(own));
  HOLDS(!register_probe(inner));
  HOLDS(!register_probe(libc));
  HOLDS(sum(2, 40) == 42);
  HOLDS(seen == 40 && after == 1 && hits(own) == 1);
  HOLDS(loop(10) == 55 && hits(inner) == 1);
  HOLDS(getenv("no such variable") == nullptr && hits(libc) >= 1);
  HOLDS(!disable_probe(own));
  HOLDS(bytes_of(text_of(&sum)) == before);
  HOLDS(sum(2, 40) == 42 && hits(own) == 1);
  HOLDS(!enable_probe(own));
  HOLDS(sum(2, 40) == 42 && hits(own) == 2);
  probe* const all[] = {&own, &inner, &libc};
  unregister_probes(all);
  HOLDS(bytes_of(text_of(&sum)) == before);
  HOLDS(sum(2, 40) == 42 && hits(own) == 2 && list_probes().size() == others);
  return nullptr;
}

/// The kinds that stand at functions.
inline flaw function_probes() {
  using namespace cycle;
  const auto before = bytes_of(text_of(&scaled));
  {
    long entered = 0;
    double result = 0;
    auto entry = on_entry(
        &scaled, [&](double, long n) { entered += n; }, how());
    auto back = on_return(
        &scaled, [&](double value) { result = value; }, how());
    HOLDS(scaled(1.5, 4) == 6 && entered == 4 && result == 6);
    auto other = replace(
        &scaled, [](auto original, double x, long n) { return original(x, n) + 1; }, how());
    HOLDS(scaled(1.5, 4) == 7 && entered == 8);
  }
  HOLDS(scaled(1.5, 4) == 6 && bytes_of(text_of(&scaled)) == before);
  return nullptr;
}

/// Probes that come and go while another thread runs into them: text and grace periods.
inline flaw comings_and_goings(int rounds) {
  using namespace cycle;
  std::atomic<bool> stop{false};
  std::atomic<long> wrong{0}, calls{0};
  std::thread caller{[&] {
    while (!stop) {
      wrong += sum(1, 2) != 3 || loop(3) != 6;
      ++calls;
    }
  }};
  flaw found = [&]() -> flaw {
    for (int i = 0; i < rounds; ++i) {
      probe p{.at = &sum, .pre_handler = [](probe&, registers&) { return 0; }, .flags = how()};
      retprobe r{.at = &loop, .handler = [](retprobe_instance&, registers&) {}, .flags = how()};
      HOLDS(!register_probe(p));
      HOLDS(!register_retprobe(r));
      const auto start = calls.load();
      while (calls < start + 3) std::this_thread::yield();
      HOLDS(hits(p) > 0 && hits(r) > 0);
    }
    return nullptr;
  }();
  stop = true;
  caller.join();
  if (found != nullptr) return found;
  HOLDS(wrong == 0 && list_probes().empty());
  return nullptr;
}

inline flaw whole_cycle(int rounds = 20) {
  if (flaw found = plain_probes()) return found;
  if (flaw found = function_probes()) return found;
  if (flaw found = comings_and_goings(rounds)) return found;
  return plain_probes();
}

/// For a program's main().
inline int reported(flaw found) {
  if (found == nullptr) return 0;
  std::fprintf(stderr, "%s\nlast refusal: %s\n", found, last_error_detail().c_str());
  return 1;
}

}  // namespace libprobe::test
