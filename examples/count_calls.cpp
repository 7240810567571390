// How often does a library call getenv? The probe sits in libc itself, so every caller is seen.
#include <cstdio>
#include <cstdlib>
#include <libprobe/libprobe.hpp>

namespace {
int only_count(libprobe::probe& /*unused*/, libprobe::registers& /*unused*/) { return 0; }
}  // namespace

int main() {
  libprobe::probe calls{.at = "libc.so.6:getenv", .pre_handler = only_count};
  if (const auto error = libprobe::register_probe(calls)) {
    std::printf("refused: %s: %s\n", error.message().c_str(), libprobe::last_error_detail().c_str());
    return 1;
  }
  for (int i = 0; i < 1000; ++i) static_cast<void>(std::getenv("HOME"));
  libprobe::unregister_probe(calls);

  for (int i = 0; i < 1000; ++i) static_cast<void>(std::getenv("HOME"));  // these are not seen
  std::printf("getenv was called %llu times\n", static_cast<unsigned long long>(libprobe::hits(calls)));
  return libprobe::hits(calls) == 1000 ? 0 : 1;
}
