// Functions that tail-call each other, for certain: however a test is compiled, they jump.
#pragma once

#include <cstdint>

namespace libprobe::test {

/// Where each of the three goes on to, and what is called where n is 0. All are left by a jump.
struct chain {
  using step = long (*)(long n, long sum, const chain* links);
  step after_a, after_b, after_c;
  step end;
};

extern "C" {
// Each adds n to the sum and goes on with n - 1; with 0 to `end`, which gets -1.
long chain_a(long n, long sum, const chain* links);
long chain_b(long n, long sum, const chain* links);
long chain_c(long n, long sum, const chain* links);
/// Calls the first of them, and returns what the last one does: they all return to call_chain_back.
long call_chain(long n, long sum, const chain* links, chain::step first);
extern const char call_chain_back[];
}

inline long sum_of_chain(long n) { return n * (n + 1) / 2; }
inline long end_of_chain(long /*minus_one*/, long sum, const chain* /*links*/) { return sum; }

}  // namespace libprobe::test
