// The lock that fork() waits for.
#include "control/fork_lock.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace libprobe::control {
namespace {

using namespace std::chrono_literals;

TEST(ForkLock, LetsOneThreadInAtATime) {
  constexpr int rounds = 20'000;
  fork_lock lock;
  long plain = 0;  // nothing else keeps the threads apart
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        const std::lock_guard guard{lock};
        plain = plain + 1;
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(plain, 4L * rounds);
}

TEST(ForkLock, KnowsItsHolder) {
  fork_lock lock;
  EXPECT_FALSE(lock.is_mine());
  lock.lock();
  EXPECT_TRUE(lock.is_mine());
  std::thread{[&] { EXPECT_FALSE(lock.is_mine()); }}.join();
  lock.unlock();
  EXPECT_FALSE(lock.is_mine());
}

/// Who sleeps is woken: the holder gives it back only when the others have had time to fall asleep.
TEST(ForkLock, WakesWhoWaits) {
  fork_lock lock;
  std::atomic<int> through{0};
  lock.lock();
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const std::lock_guard guard{lock};
      ++through;
    });
  }
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(through, 0);
  lock.unlock();
  for (auto& t : threads) t.join();
  EXPECT_EQ(through, 3);
}

TEST(ForkLock, AForkWaitsForTheHolder) {
  fork_lock lock;
  std::atomic<bool> held{false}, let_go{false};
  std::thread holder{[&] {
    lock.lock();
    held = true;
    std::this_thread::sleep_for(20ms);
    let_go = true;
    lock.unlock();
  }};
  while (!held) std::this_thread::yield();
  const bool mine = lock.before_fork();
  EXPECT_TRUE(let_go);
  EXPECT_FALSE(mine);
  EXPECT_TRUE(lock.is_mine());
  lock.after_fork_in_parent(mine);
  EXPECT_FALSE(lock.is_mine());
  holder.join();
}

/// A signal handler that interrupted the holder forks: it must not wait for itself, and gives nothing back.
TEST(ForkLock, AForkOfTheHolderDoesNotWait) {
  fork_lock lock;
  lock.lock();
  const bool mine = lock.before_fork();
  EXPECT_TRUE(mine);
  lock.after_fork_in_parent(mine);
  EXPECT_TRUE(lock.is_mine());
  lock.after_fork_in_child(mine);
  EXPECT_TRUE(lock.is_mine());
  lock.unlock();
}

/// Others wait for the lock while the process forks: the child has nobody to wake, and finds it free.
TEST(ForkLock, IsFreeInTheChild) {
  fork_lock lock;
  const bool mine = lock.before_fork();
  std::thread waits{[&] { const std::lock_guard guard{lock}; }};
  std::this_thread::sleep_for(10ms);
  const auto child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(20);
    lock.after_fork_in_child(mine);
    const bool free = !lock.is_mine();
    lock.lock();
    lock.unlock();
    _exit(free ? 0 : 1);
  }
  lock.after_fork_in_parent(mine);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  waits.join();
}

}  // namespace
}  // namespace libprobe::control
