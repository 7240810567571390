// The typed layer in a program that is built for AVX: 32-byte vectors in registers, alone and in classes.
#include <immintrin.h>

#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;
using enum result_registers;

struct wrapped {
  __m256d lanes;
};
[[gnu::noinline]] __m256d bare(double x, __m256d y) { return _mm256_set1_pd(opaque(x)) + y; }
[[gnu::noinline]] wrapped inside(double x, wrapped y) { return {_mm256_set1_pd(opaque(x)) + y.lanes}; }

TEST(TypedM256, ResultsAndArguments) {
  EXPECT_EQ(detail::result_registers_of<__m256d>(), first_vector);
  EXPECT_EQ(detail::result_registers_of<wrapped>(), first_vector);
  const __m256d y = _mm256_set_pd(1, 2, 3, 4);
  double seen = 0;
  const scoped_probe entry =
      on_entry(&inside, [&](double x, const wrapped& lanes) { seen = x + lanes.lanes[3]; });
  const scoped_probe a =
      replace(&bare, [](auto original, double x, __m256d v) { return original(2 * x, v); });
  const scoped_probe b =
      replace(&inside, [](auto original, double x, wrapped v) { return original(3 * x, v); });
  const __m256d got = opaque(&bare)(10, y);
  EXPECT_EQ(got[0], 24);
  EXPECT_EQ(got[3], 21);
  const wrapped more = opaque(&inside)(10, wrapped{y});
  EXPECT_EQ(more.lanes[0], 34);
  EXPECT_EQ(more.lanes[3], 31);
  EXPECT_EQ(seen, 11);
}

}  // namespace
}  // namespace libprobe
