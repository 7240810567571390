// Reader sections: nested, in signal handlers, of threads that come and go, and across fork.
#include "epoch/epoch.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/time.h>

#include <atomic>
#include <new>
#include <thread>
#include <vector>

#include "epoch/retirement.hpp"
#include "support/probing.hpp"

namespace libprobe::epoch {
namespace {

void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) std::this_thread::yield();
}

/// A thread in synchronize(). Its target is drawn once begun() returns.
class waiting_writer {
 public:
  waiting_writer() : before_{detail::current.load()}, thread_{[this] { run(); }} {
    while (detail::current.load() == before_) std::this_thread::yield();
  }
  void join() { thread_.join(); }
  [[nodiscard]] bool done() const { return done_.load(); }

 private:
  void run() {
    synchronize();
    done_ = true;
  }
  std::uint64_t before_;
  std::atomic<bool> done_{false};
  std::thread thread_;
};

class Epoch : public testing::Test {
 protected:
  void SetUp() override { prepare(); }
};

TEST_F(Epoch, AnOpenSectionHoldsTheGracePeriodUpUntilTheOuterOneIsLeft) {
  alignas(section) std::byte outer[sizeof(section)];
  new (outer) section;
  waiting_writer writer;
  for (int i = 0; i < 1000; ++i) {
    const section inner;
    const section innermost;
    std::this_thread::yield();
  }
  EXPECT_FALSE(writer.done());
  std::launder(reinterpret_cast<section*>(outer))->~section();
  writer.join();
  EXPECT_TRUE(writer.done());
}

TEST_F(Epoch, SectionsOpenedLaterDoNotHoldItUp) {
  std::atomic<bool> opened{false}, release{false};
  auto* early = new section;
  waiting_writer writer;
  std::thread later{[&] {
    const section section;
    opened = true;
    wait_for(release);
  }};
  wait_for(opened);
  EXPECT_FALSE(writer.done());
  delete early;
  writer.join();  // for ever, if the later section counted
  release = true;
  later.join();
}

TEST_F(Epoch, ATicketIsCompleteWhenTheSectionsBeforeItAreLeft) {
  auto* early = new section;
  const auto first = take_ticket();
  EXPECT_FALSE(poll(first));
  std::atomic<bool> opened{false}, release{false};
  std::thread later{[&] {
    const section section;
    opened = true;
    wait_for(release);
  }};
  wait_for(opened);
  const auto second = take_ticket();
  EXPECT_GT(second, first);
  delete early;
  EXPECT_FALSE(is_complete(first)) << "nobody has looked";
  EXPECT_TRUE(poll(first));
  EXPECT_TRUE(is_complete(first));
  EXPECT_FALSE(poll(second)) << "the other section was open before it";
  release = true;
  later.join();
  EXPECT_TRUE(poll(second));
}

struct object : retired {
  bool freed = false;
  object() {
    free = [](retired& what) noexcept { static_cast<object&>(what).freed = true; };
  }
};

TEST_F(Epoch, WhatIsRetiredGoesWithItsOwnTicketWhoeverWaited) {
  retirement waiting;
  object first, second, third;
  waiting.add(first);
  const auto covers_first = waiting.seal();
  EXPECT_EQ(waiting.seal(), covers_first) << "nothing has come since";
  auto* reader = new section;  // may hold what is retired from now on, and not the first
  waiting.add(second);
  wait(covers_first);
  waiting.free_complete();
  EXPECT_TRUE(first.freed);
  EXPECT_FALSE(second.freed) << "of no ticket yet";
  const auto covers_second = waiting.seal();
  EXPECT_FALSE(poll(covers_second));
  waiting.free_complete();
  EXPECT_FALSE(second.freed) << "a section that is older than its ticket is open";
  waiting.add(third);
  delete reader;
  wait(covers_second);
  waiting.free_complete();
  EXPECT_TRUE(second.freed);
  EXPECT_FALSE(third.freed);
  wait(waiting.seal());
  waiting.free_complete();
  EXPECT_TRUE(third.freed);
  EXPECT_TRUE(waiting.empty());
}

TEST_F(Epoch, GracePeriodsAreCounted) {
  const auto before = grace_periods();
  synchronize();
  EXPECT_EQ(grace_periods(), before + 1);
}

TEST_F(Epoch, ManyWritersWaitAtOnce) {
  std::atomic<bool> stop{false};
  std::thread reader{[&] {
    while (!stop) const section section;
  }};
  std::vector<std::thread> writers;
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([] {
      for (int round = 0; round < 2000; ++round) synchronize();
    });
  }
  for (auto& writer : writers) writer.join();
  stop = true;
  reader.join();
}

std::atomic<std::uint64_t> handled{0};
void section_in_handler(int) {
  const section outer;
  { const section inner; }
  handled.fetch_add(1, std::memory_order_relaxed);
}

void on_signal(int signo, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(signo, &action, nullptr);
}

TEST_F(Epoch, SectionsInSignalHandlersLeaveTheInterruptedOneAsItWas) {
  on_signal(SIGALRM, section_in_handler);
  handled = 0;
  const itimerval storm{{0, 100}, {0, 100}};
  setitimer(ITIMER_REAL, &storm, nullptr);
  std::atomic<std::uint64_t> lost{0};
  std::atomic<bool> stop{false};
  std::thread writer{[&] {
    while (!stop) synchronize();
  }};
  while (handled < 2000) {
    const section outer;
    const auto since = detail::self->since.load(std::memory_order_relaxed);
    if (since == 0) ++lost;
    for (int i = 0; i < 50; ++i) {
      const section inner;
      if (detail::self->since.load(std::memory_order_relaxed) != since) ++lost;
    }
    if (detail::self->since.load(std::memory_order_relaxed) != since) ++lost;
  }
  const itimerval quiet{};
  setitimer(ITIMER_REAL, &quiet, nullptr);
  stop = true;
  writer.join();
  EXPECT_EQ(lost.load(), 0U);
  EXPECT_EQ(detail::self->since.load(), 0U);
}

TEST_F(Epoch, AThreadsFirstSectionMayBeInASignalHandler) {
  on_signal(SIGUSR1, section_in_handler);
  for (int round = 0; round < 500; ++round) {
    const auto before = handled.load();
    std::atomic<bool> ready{false}, stop{false};
    std::thread thread{[&] {
      ready = true;
      // From now on signals meet every part of claiming a record, the handler's own first claim included.
      while (!stop) const section section;
    }};
    wait_for(ready);
    for (int i = 0; i < 3; ++i) pthread_kill(thread.native_handle(), SIGUSR1);
    while (handled.load() == before) std::this_thread::yield();
    stop = true;
    thread.join();
  }
  synchronize();
}

TEST_F(Epoch, AThreadThatDoesNothingButHandleSignalsHasSectionsToo) {
  on_signal(SIGUSR1, section_in_handler);
  std::atomic<bool> stop{false};
  const auto before = handled.load();
  std::thread thread{[&] {
    while (!stop) std::this_thread::yield();
  }};
  pthread_kill(thread.native_handle(), SIGUSR1);
  while (handled.load() == before) std::this_thread::yield();
  stop = true;
  thread.join();
  synchronize();
}

TEST_F(Epoch, RecordsOfThousandsOfShortThreadsAreUsedAgain) {
  for (int round = 0; round < 500; ++round) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 10; ++i) threads.emplace_back([] { const section section; });
    for (auto& thread : threads) thread.join();
  }
  // Ten at a time, and as many again that nobody has looked at yet.
  EXPECT_LE(records_in_use(), 100U);
  synchronize();
}

TEST_F(Epoch, AThreadThatDiedInASectionDoesNotBlock) {
  for (int i = 0; i < 20; ++i) {
    std::thread{[] {
      alignas(section) std::byte place[sizeof(section)];
      new (place) section;  // never left
    }}.join();
  }
  synchronize();
  std::thread{[] { const section section; }}.join();
  synchronize();
}

TEST_F(Epoch, AForkedChildHasACleanPool) {
  std::atomic<int> ready{0};
  std::atomic<bool> release{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 5; ++i) {
    readers.emplace_back([&] {
      const section section;
      ++ready;
      wait_for(release);
    });
  }
  while (ready != 5) std::this_thread::yield();
  { const section mine; }
  const auto child_of_nobody = [] {
    after_fork_in_child();
    if (records_in_use() > 1) return 1;
    synchronize();  // nobody to wait for
    { const section section; }
    synchronize();
#ifndef __SANITIZE_THREAD__  // which allows no threads in such a child
    std::thread{[] { const section section; }}.join();
    synchronize();
#endif
    return records_in_use() <= 2 ? 0 : 2;
  };
  EXPECT_EQ(test::told(test::status_of_child(child_of_nobody)), test::exited_with(0));
  EXPECT_GE(records_in_use(), 6U);
  release = true;
  for (auto& reader : readers) reader.join();
}

TEST_F(Epoch, AChildForkedInsideASectionIsStillInIt) {
  const section section;
  const auto body = [] {
    after_fork_in_child();
    if (detail::self->since.load() == 0) return 1;
    return records_in_use() == 1 ? 0 : 2;
  };
  EXPECT_EQ(test::told(test::status_of_child(body)), test::exited_with(0));
}

}  // namespace
}  // namespace libprobe::epoch
