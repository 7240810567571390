// Handlers that get a copy of the arguments on the stack, of functions that are called close to a stack's
// end: by main(), and first of all in a thread. It is for a debugger, which must find no signal to stop at.
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <libprobe/libprobe.hpp>

namespace {

std::atomic<int> entered{0}, wrong{0};

[[gnu::noipa]] int sum(int a, int b, int c, int d, int e, int f, int g, int h) {
  return a + b + c + d + e + f + g + h;
}
[[gnu::noipa]] int difference(int a, int b, int c, int d, int e, int f, int g, int h) {
  return a + b + c + d + e + f + g - h;
}
[[gnu::noipa]] void* begin(void* argument) {
  if (sum(1, 2, 3, 4, 5, 6, 7, 8) != 36 || difference(1, 2, 3, 4, 5, 6, 7, 8) != 20) ++wrong;
  return argument;
}

void see_sum(int, int, int, int, int, int, int g, int h) {
  ++entered;
  if (g != 7 || h != 8) ++wrong;
}
void see_begin(void*) { ++entered; }
int instead(int a, int b, int c, int d, int e, int f, int g, int h) {
  ++entered;
  const auto original =
      reinterpret_cast<decltype(&difference)>(libprobe::original(*libprobe::current_replacement()));
  return original(a, b, c, d, e, f, g, h);
}

}  // namespace

int main() {
  libprobe::jprobe sums{.at = &sum, .entry = reinterpret_cast<void*>(&see_sum)};
  libprobe::jprobe begins{.at = &begin, .entry = reinterpret_cast<void*>(&see_begin)};
  libprobe::replacement differences{.at = &difference, .entry = reinterpret_cast<void*>(&instead)};
  if (register_jprobe(sums) || register_jprobe(begins) || register_replacement(differences)) return 1;
  begin(nullptr);
  constexpr int threads = 20;
  for (int i = 0; i < threads; ++i) {
    pthread_t made{};
    if (pthread_create(&made, nullptr, begin, nullptr) != 0 || pthread_join(made, nullptr) != 0) return 2;
  }
  std::printf("%d entered, %d wrong\n", entered.load(), wrong.load());
  return entered == 3 * (threads + 1) && wrong == 0 ? 0 : 3;
}
