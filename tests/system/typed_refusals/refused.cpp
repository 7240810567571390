// None of these may compile, and the compiler's message must help. CASE: which.
#include <libprobe/libprobe.hpp>
#include <memory>
#include <string>

using namespace libprobe;

std::string text_of(int);
long double wide(int);
int takes(std::unique_ptr<int>);
int plain(int);

void refused() {
#if CASE == 1
  const scoped_probe p = on_return(&text_of, [](const std::string&) {});
#elif CASE == 2
  const scoped_probe p = on_return(&wide, [](long double) {});
#elif CASE == 3
  const scoped_probe p = on_entry(&takes, [](std::unique_ptr<int>) {});
#elif CASE == 4
  const scoped_probe p = replace(&plain, [](int x) { return x; });
#elif CASE == 5
  const scoped_probe p = replace(&plain, [](auto, int) { return "text"; });
#endif
}
