// Handles of the typed layer: moved, released, let go; and removed while other threads run their callables.
#include <atomic>
#include <csignal>
#include <memory>
#include <optional>
#include <thread>

#include "epoch/epoch.hpp"
#include "support/probing.hpp"

namespace libprobe {
namespace {

using test::opaque;

[[gnu::noinline]] int subject(int x) { return opaque(x) + 1; }
[[gnu::noinline]] double other(double x) { return opaque(x) + 2; }

TEST(TypedLifetime, HandlesMove) {
  static_assert(!std::is_copy_constructible_v<scoped_probe> && !std::is_copy_assignable_v<scoped_probe>);
  static_assert(std::is_nothrow_move_constructible_v<scoped_probe>);
  int count = 0;
  scoped_probe empty;
  EXPECT_FALSE(empty);
  EXPECT_EQ(empty.hits(), 0U);
  EXPECT_EQ(empty.address(), nullptr);
  empty.release();
  empty.release_fast();
  {
    scoped_probe first = on_entry(&subject, [&](int) { ++count; });
    EXPECT_TRUE(first);
    scoped_probe second{std::move(first)};
    EXPECT_FALSE(first);
    subject(1);
    empty = std::move(second);
  }
  subject(1);
  EXPECT_EQ(count, 2);
  EXPECT_EQ(empty.hits(), 2U);
  empty = on_entry(&subject, [&](int) { count += 10; });  // the old one goes
  subject(1);
  EXPECT_EQ(count, 12);
  empty.release();
  subject(1);
  EXPECT_EQ(count, 12);
}

TEST(TypedLifetime, MoveOnlyCallables) {
  auto added = std::make_unique<int>(100);
  auto seen = std::make_unique<int>(0);
  const int* const look = seen.get();
  const scoped_probe p =
      replace(&subject, [added = std::move(added)](auto original, int x) { return original(x) + *added; });
  const scoped_probe q = on_entry(&subject, [seen = std::move(seen)](int x) { *seen = x; });
  const scoped_probe r = on_return(&subject, [last = std::make_unique<int>(0)](int x) mutable { *last = x; });
  EXPECT_EQ(opaque(&subject)(5), 106);
  EXPECT_EQ(*look, 5);
}

TEST(TypedLifetime, ReleasedFastTheyShareAGracePeriod) {
  const auto canary = std::make_shared<int>(1);
  auto a = on_entry(&subject, [canary](int) {});
  auto b = replace(&subject, [canary](auto original, int x) { return original(x); });
  auto c = on_return(&other, [canary](double) {});
  probe k{.at = &other, .pre_handler = test::just_count};
  ASSERT_FALSE(register_probe(k));
  EXPECT_EQ(canary.use_count(), 4);
  const auto before = epoch::grace_periods();
  a.release_fast();
  b.release_fast();
  c.release_fast();
  unregister_probe_fast(k);
  EXPECT_FALSE(a);
  EXPECT_EQ(canary.use_count(), 4);  // threads might still be inside
  EXPECT_EQ(epoch::grace_periods(), before);
  EXPECT_EQ(opaque(&subject)(1), 2);
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(epoch::grace_periods(), before + 1);
  // Those that a commit has freed go with the next that is released.
  auto last = on_entry(&subject, [](int) {});
  last.release_fast();
  EXPECT_FALSE(commit_probes());
  EXPECT_EQ(canary.use_count(), 1);
}

/// A callable's state that notices its own death.
struct state {
  ~state() { alive = 0xdead; }
  volatile int alive = 1;
};

TEST(TypedLifetime, RemovedWhileThreadsRunTheCallable) {
  std::atomic<bool> stop{false};
  std::atomic<int> dead{0};
  std::atomic<long> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; !stop.load(); ++i) {
        if (opaque(&subject)(i) != i + 1) ++wrong;
        if (opaque(&other)(i) != i + 2.0) ++wrong;
      }
    });
  }
  const auto look = [&](const state& s) {
    for (int i = 0; i < 50; ++i) {
      if (s.alive != 1) ++dead;
    }
  };
  std::uint64_t hits = 0;
  for (int round = 0; round < 300; ++round) {
    const scoped_probe a = replace(&subject, [&look, s = std::make_unique<state>()](auto original, int x) {
      look(*s);
      const int result = original(x);
      look(*s);
      return result;
    });
    const scoped_probe b = on_entry(&other, [&look, s = std::make_unique<state>()](double) { look(*s); });
    const scoped_probe c = on_return(&other, [&look, s = std::make_unique<state>()](double) { look(*s); });
    std::this_thread::yield();
    hits += a.hits() + b.hits() + c.hits();
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(dead, 0);
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(hits, 0U);
}

std::atomic<bool> inside{false};
std::atomic<bool> may_go{false};
TEST(TypedLifetime, TheDestructorWaits) {
  inside = may_go = false;
  std::atomic<bool> gone{false};
  std::optional<scoped_probe> p = replace(&subject, [&](auto original, int x) {
    inside = true;
    while (!may_go) std::this_thread::yield();
    EXPECT_FALSE(gone);
    return original(x);
  });
  std::thread caller{[] { EXPECT_EQ(opaque(&subject)(1), 2); }};
  while (!inside) std::this_thread::yield();
  std::thread remover{[&] {
    p.reset();
    gone = true;
  }};
  while (!test::rows_at(reinterpret_cast<void*>(&subject)).empty()) std::this_thread::yield();
  EXPECT_FALSE(gone);
  may_go = true;
  caller.join();
  remover.join();
  EXPECT_TRUE(gone);
}

// ---- misuse

TEST(TypedLifetime, DestroyedInsideItsOwnCallableItAborts) {
  static scoped_probe* handle;
  EXPECT_EXIT(
      {
        scoped_probe own = on_entry(&subject, [](int) { handle->release(); });
        handle = &own;
        opaque (&subject)(1);
      },
      testing::KilledBySignal(SIGABRT), "destroyed inside a handler");
  EXPECT_EXIT(
      {
        scoped_probe own = on_return(&subject, [](int) { handle->release(); });
        handle = &own;
        opaque (&subject)(1);
      },
      testing::KilledBySignal(SIGABRT), "destroyed inside a handler");
  EXPECT_EXIT(
      {
        scoped_probe own = replace(&subject, [](auto, int x) {
          handle->release();
          return x;
        });
        handle = &own;
        opaque (&subject)(1);
      },
      testing::KilledBySignal(SIGABRT), "destroyed inside a handler");
}

TEST(TypedLifetime, ReleasedFastInsideItsOwnCallableItGoes) {
  static scoped_probe own;
  own = replace(&subject, [](auto original, int x) {
    own.release_fast();
    EXPECT_EQ(commit_probes(), errc::would_deadlock);
    return original(x) + 100;
  });
  EXPECT_EQ(opaque(&subject)(1), 102);
  EXPECT_EQ(opaque(&subject)(1), 2);
  EXPECT_FALSE(commit_probes());
}

}  // namespace
}  // namespace libprobe
