// Does it survive when memory runs out? Each malloc fails once, the first, the second, ... until none is
// left.
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <libprobe/testing.hpp>

namespace {

/// The code under test: packs and unpacks. Z_OK, or what went wrong.
int round_trip() {
  static unsigned char text[5000], packed[6000], again[5000];
  std::memset(text, 'x', sizeof text);
  uLongf packed_size = sizeof packed;
  if (const int result = compress(packed, &packed_size, text, sizeof text); result != Z_OK) return result;
  uLongf size = sizeof again;
  if (const int result = uncompress(again, &size, packed, packed_size); result != Z_OK) return result;
  return std::memcmp(text, again, sizeof text) == 0 ? Z_OK : Z_DATA_ERROR;
}

}  // namespace

int main() {
  using namespace libprobe;
  for (std::size_t n = 1;; ++n) {
    const fault<void*(std::size_t)> out_of_memory{"libc.so.6:malloc", call_number(n),
                                                  fails_with<void*>(nullptr, ENOMEM), this_thread};
    const int result = round_trip();
    if (!out_of_memory.was_met()) {
      std::printf("%zu mallocs, each failed once\n", n - 1);
      return result == Z_OK && n > 3 ? 0 : 1;
    }
    if (result != Z_MEM_ERROR) {
      std::printf("malloc number %zu fails, and the answer is %d\n", n, result);
      return 1;
    }
  }
}
