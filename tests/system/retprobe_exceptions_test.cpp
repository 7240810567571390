// C++ exceptions through followed calls: found by the same catch clauses, with every destructor run once and
// every instance given back. Built by each compiler, with and without optimisation.
#include <array>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

int alive = 0, destroyed = 0;
struct tracked {
  tracked() { ++alive; }
  ~tracked() {
    --alive;
    ++destroyed;
  }
  tracked(const tracked&) = delete;
  tracked& operator=(const tracked&) = delete;
};

/// frame<0> throws when asked to; each frame above holds an object.
template <int N>
[[gnu::noinline]] int frame(int x) {
  const tracked here;
  if constexpr (N == 0) {
    if (opaque(x) < 0) throw std::out_of_range("below zero");
    return x;
  } else {
    return opaque(frame<N - 1>(x)) + 1;
  }
}

[[gnu::noinline]] int catches(int x) {
  try {
    return frame<1>(x);
  } catch (const std::exception&) {
    return opaque(-100);
  }
}

[[gnu::noinline]] int rethrows(int x) {
  try {
    return frame<1>(x);
  } catch (...) {
    const tracked here;
    throw;
  }
}

[[gnu::noinline]] int nests(int x) {
  try {
    return rethrows(x);
  } catch (const std::exception&) {
    std::throw_with_nested(std::runtime_error("around"));
  }
}

[[gnu::noinline]] int catches_another(int x) {
  try {
    return frame<1>(x);
  } catch (const std::string&) {
    return 0;
  }
}

struct throws_and_catches_in_destructor {
  ~throws_and_catches_in_destructor() { last = catches(-1); }
  static inline int last = 0;
};
[[gnu::noinline]] int with_busy_destructor(int x) {
  const throws_and_catches_in_destructor here;
  return frame<2>(x);
}

[[gnu::noinline]] int swallows_by_noexcept(int x) noexcept { return frame<0>(x); }

constexpr std::array<int (*)(int), 5> frames{frame<0>, frame<1>, frame<2>, frame<3>, frame<4>};

/// Each test with one to five frames followed.
class Through : public testing::TestWithParam<std::size_t> {
 protected:
  void SetUp() override {
    alive = destroyed = 0;
    for (std::size_t i = 0; i < GetParam(); ++i) probes_.emplace_back(new followed{frames[i], 2});
  }
  void TearDown() override {
    EXPECT_EQ(alive, 0);
    for (auto& p : probes_) {
      EXPECT_TRUE(p->balanced());
      EXPECT_EQ(p->missed(), 0U) << "every instance came back";
    }
  }
  void expect_unwinds(std::size_t frame, std::uint64_t count) {
    EXPECT_EQ(frame < probes_.size() ? probes_[frame]->unwinds() : count, count);
  }
  std::vector<std::unique_ptr<followed>> probes_;
};
INSTANTIATE_TEST_SUITE_P(Frames, Through, testing::Range<std::size_t>(1, 6));

TEST_P(Through, AnExceptionIsCaughtAbove) {
  for (int round = 1; round <= 20; ++round) {
    EXPECT_EQ(frame<4>(round), round + 4);
    std::string what;
    try {
      frame<4>(-round);
    } catch (const std::out_of_range& e) {
      what = e.what();
    }
    EXPECT_EQ(what, "below zero");
    EXPECT_EQ(alive, 0);
    EXPECT_EQ(destroyed, 10 * round);
    for (std::size_t i = 0; i < GetParam(); ++i) EXPECT_EQ(probes_[i]->unwinds(), round);
  }
}

TEST_P(Through, AFollowedFunctionCatches) {
  followed p{&catches, 1};
  for (int round = 1; round <= 20; ++round) {
    EXPECT_EQ(catches(round), round + 1);
    EXPECT_EQ(catches(-round), -100);
  }
  EXPECT_EQ(p.returns(), 40U);
  EXPECT_EQ(p.unwinds(), 0U);
  expect_unwinds(0, 20);
  expect_unwinds(1, 20);
}

TEST_P(Through, Rethrown) {
  followed p{&rethrows, 1};
  for (int round = 1; round <= 20; ++round) {
    EXPECT_EQ(rethrows(round), round + 1);
    EXPECT_THROW(rethrows(-round), std::out_of_range);
    EXPECT_EQ(destroyed, round * 5);
  }
  EXPECT_EQ(p.unwinds(), 20U);
  EXPECT_EQ(p.returns(), 20U);
}

TEST_P(Through, Nested) {
  followed p{&rethrows, 1}, q{&nests, 1};
  for (int round = 1; round <= 20; ++round) {
    std::string inner, outer;
    try {
      nests(-round);
    } catch (const std::runtime_error& e) {
      outer = e.what();
      try {
        std::rethrow_if_nested(e);
      } catch (const std::out_of_range& e2) {
        inner = e2.what();
      }
    }
    EXPECT_EQ(outer + ' ' + inner, "around below zero");
  }
  EXPECT_EQ(p.unwinds(), 20U);
  EXPECT_EQ(q.unwinds(), 20U);
}

TEST_P(Through, AHandlerOfAnotherType) {
  followed p{&catches_another, 1};
  EXPECT_THROW(catches_another(-1), std::out_of_range);
  EXPECT_EQ(catches_another(1), 2);
  EXPECT_TRUE(p.balanced());
}

TEST_P(Through, ADestructorThatItselfThrowsAndCatches) {
  // Its own followed calls begin, throw and end while the outer exception is under way.
  followed p{&with_busy_destructor, 1}, q{&catches, 1};
  for (int round = 1; round <= 20; ++round) {
    throws_and_catches_in_destructor::last = 0;
    EXPECT_THROW(with_busy_destructor(-round), std::out_of_range);
    EXPECT_EQ(throws_and_catches_in_destructor::last, -100);
  }
  EXPECT_EQ(p.unwinds(), 20U);
  EXPECT_EQ(q.returns(), 20U);
  expect_unwinds(2, 20);
  expect_unwinds(1, 40);
}

TEST_P(Through, AnExceptionPointerThrownAgainElsewhere) {
  std::exception_ptr kept;
  try {
    frame<4>(-1);
  } catch (...) {
    kept = std::current_exception();
  }
  EXPECT_THROW(std::rethrow_exception(kept), std::out_of_range);
}

TEST_P(Through, AWallOfNoexceptTerminates) {
  followed p{&swallows_by_noexcept, 1};
  const auto body = [] {
    std::set_terminate([] { _exit(std::current_exception() ? 42 : 43); });
    return swallows_by_noexcept(-1);
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(42));
  EXPECT_EQ(swallows_by_noexcept(1), 1);
}

TEST_P(Through, WithSeveralRetprobesEach) {
  followed a{&frame<0>, 1}, b{&frame<0>, 1}, c{&frame<2>, 1};
  for (int round = 1; round <= 20; ++round) {
    EXPECT_THROW(frame<4>(-1), std::out_of_range);
    EXPECT_EQ(a.unwinds(), round);
    EXPECT_EQ(b.unwinds(), round);
    EXPECT_EQ(c.unwinds(), round);
  }
  EXPECT_EQ(a.missed() + b.missed() + c.missed(), 0U);
}

// Recursion, thrown through from the bottom, and caught half way up.
[[gnu::noinline]] int dive(int depth, int catch_at) {
  const tracked here;
  if (opaque(depth) == 0) throw 7;
  if (depth != catch_at) return dive(depth - 1, catch_at) + 1;
  try {
    return dive(depth - 1, catch_at) + 1;
  } catch (int value) {
    return value;
  }
}

TEST(Recursive, CaughtHalfWayUp) {
  followed p{&dive, 200};
  alive = 0;
  for (int round = 0; round < 5; ++round) EXPECT_EQ(dive(199, 100), 7 + 99);
  EXPECT_EQ(p.unwinds(), 5U * 100);
  EXPECT_EQ(p.returns(), 5U * 100);
  EXPECT_EQ(p.missed(), 0U);
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace libprobe
