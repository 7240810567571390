// How long do calls of qsort take? A retprobe's data holds the time of entry until the same call returns, so
// it is right in recursion and in any number of threads.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>
#include <vector>

namespace {

using hires = std::chrono::steady_clock;
std::atomic<long> calls{0};
std::atomic<long> nanoseconds{0};

int on_entry(libprobe::retprobe_instance& call, libprobe::registers& /*unused*/) {
  call.data_as<hires::time_point>() = hires::now();
  return 0;
}
void on_return(libprobe::retprobe_instance& call, libprobe::registers& /*unused*/) {
  const auto taken = hires::now() - call.data_as<hires::time_point>();
  nanoseconds += std::chrono::duration_cast<std::chrono::nanoseconds>(taken).count();
  ++calls;
}
int compare(const void* a, const void* b) {
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

}  // namespace

int main() {
  libprobe::retprobe timer{.at = "libc.so.6:qsort",
                           .handler = on_return,
                           .entry_handler = on_entry,
                           .data_size = sizeof(hires::time_point)};
  if (const auto error = libprobe::register_retprobe(timer)) {
    std::printf("refused: %s: %s\n", error.message().c_str(), libprobe::last_error_detail().c_str());
    return 1;
  }
  for (int i = 0; i < 20; ++i) {
    std::vector<int> numbers(10000);
    for (auto& n : numbers) n = std::rand() % 1000;
    std::qsort(numbers.data(), numbers.size(), sizeof numbers[0], compare);
  }
  libprobe::unregister_retprobe(timer);
  std::printf("%ld calls, %ld ns each\n", calls.load(), nanoseconds.load() / calls.load());
  return calls == 20 && nanoseconds > 0 ? 0 : 1;
}
