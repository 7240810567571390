// A second static function of the same name, in the same library.
#include <cstdint>

extern "C" {
[[gnu::noinline, gnu::used]] static int sample_twin(int value) { return value * 6; }
std::uintptr_t sample_other_twin() { return reinterpret_cast<std::uintptr_t>(&sample_twin); }
}
