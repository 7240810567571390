// Followed calls in the middle of which a thread ends, or the program. In a program without libunwind, which
// would put its own unwinding of exceptions in the place of the compiler's.
#include <execinfo.h>
#include <pthread.h>
#include <unistd.h>

#include <array>
#include <exception>
#include <memory>

#include "arch/arch.hpp"
#include "support/retprobing.hpp"

namespace libprobe {
namespace {

using test::followed;
using test::opaque;

int destroyed = 0;
struct tracked {
  ~tracked() { ++destroyed; }
};
std::atomic<bool> waiting{false};

template <int N>
[[gnu::noinline]] int leaves(int how) {
  const tracked here;
  if constexpr (N == 0) {
    if (opaque(how) == 0) pthread_exit(nullptr);
    waiting = true;
    for (;;) pause();
  } else {
    return opaque(leaves<N - 1>(how)) + 1;
  }
}

void* thread_body(void* how) {
  leaves<4>(*static_cast<int*>(how));
  return nullptr;
}

class ThreadEnd : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(By, ThreadEnd, testing::Values(0, 1),
                         [](const auto& t) { return t.param == 0 ? "Exit" : "Cancellation"; });

TEST_P(ThreadEnd, UnwindsEachFollowedCallOnce) {
  const auto end_a_thread = [] {
    waiting = false;
    int how = GetParam();
    pthread_t thread;
    ASSERT_EQ(pthread_create(&thread, nullptr, thread_body, &how), 0);
    while (how == 1 && !waiting) sched_yield();
    if (how == 1) pthread_cancel(thread);
    void* result = nullptr;
    ASSERT_EQ(pthread_join(thread, &result), 0);
    EXPECT_EQ(result, how == 1 ? PTHREAD_CANCELED : nullptr);
  };
  destroyed = 0;
  end_a_thread();
  ASSERT_EQ(destroyed, 5) << "without probes";
  std::vector<std::unique_ptr<followed>> probes;
  constexpr std::array functions{&leaves<0>, &leaves<1>, &leaves<2>, &leaves<3>, &leaves<4>};
  for (const auto f : functions) probes.emplace_back(new followed{f, 1});
  destroyed = 0;
  for (int round = 1; round <= 20; ++round) {
    end_a_thread();
    EXPECT_EQ(destroyed, 5 * round);
    for (auto& p : probes) {
      EXPECT_EQ(p->unwinds(), static_cast<std::uint64_t>(round));
      EXPECT_TRUE(p->balanced());
      EXPECT_EQ(p->missed(), 0U);
    }
  }
}

// ---- std::terminate, and what it prints ----
[[noreturn]] void look_and_leave() {
  std::array<void*, 100> found{};
  const int count = backtrace(found.data(), found.size());
  int slots = 0;
  for (int i = 0; i < count; ++i) {
    const auto ip = reinterpret_cast<std::uintptr_t>(found[static_cast<std::size_t>(i)]);
    slots += arch::return_slot_at(ip) != arch::return_slot_count ? 1 : 0;
  }
  // This function, terminate twice, __cxa_throw, three frames, and those below main.
  _exit(slots == 3 && count - slots >= 8 ? 42 : 43);
}
template <int N>
[[gnu::noinline]] int throws(int x) {
  if constexpr (N == 0) {
    if (opaque(x) != 0) throw x;
    return 0;
  } else {
    return opaque(throws<N - 1>(x)) + 1;
  }
}
TEST(Terminate, KnowsItsCallers) {
  const auto body = [] {
    followed p{&throws<0>}, q{&throws<1>}, r{&throws<2>};
    std::set_terminate(look_and_leave);
    pthread_t thread;  // where nobody catches
    pthread_create(
        &thread, nullptr, [](void*) -> void* { return throws<2>(1) != 0 ? &destroyed : nullptr; }, nullptr);
    pthread_join(thread, nullptr);
    return 0;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(42));
}

}  // namespace
}  // namespace libprobe
