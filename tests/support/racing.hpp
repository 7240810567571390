// What the tests of races share: a thread that takes turns, and an addition that is not atomic.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <libprobe/testing.hpp>
#include <thread>

// Two instructions where `lock addl` should be one: offset 0 loads, offset 2 is between, offset 4 stores.
extern "C" void racy_add(int* counter, int by);
asm(".text\n.globl racy_add\n.type racy_add, @function\nracy_add:\n"
    "  movl (%rdi), %eax\n"
    "  addl %esi, %eax\n"
    "  movl %eax, (%rdi)\n"
    "  ret\n"
    ".size racy_add, . - racy_add\n");

namespace libprobe::test {

/// A thread that does the same work again and again, a turn whenever it is told.
class worker {
 public:
  template <class Work>
  explicit worker(Work work)
      : thread_{[this, work] {
          for (int done = 0;
               turns_.wait([&](auto turns) { return turns > static_cast<unsigned>(done); }, never); ++done) {
            if (stop_) return;
            work();
            done_.add();
          }
        }} {}
  ~worker() {
    stop_ = true;
    turns_.add();
    thread_.join();
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;
  void start() { turns_.add(); }
  void finish() {
    ++expected_;
    ASSERT_TRUE(done_.wait([&](auto done) { return done >= expected_; },
                           detail::signal_safe_event::now() + std::chrono::seconds{10}));
  }

 private:
  static constexpr std::chrono::nanoseconds never = std::chrono::nanoseconds::max();
  detail::signal_safe_event turns_;
  detail::signal_safe_event done_;
  std::atomic<bool> stop_{false};
  unsigned expected_ = 0;
  std::thread thread_;
};

}  // namespace libprobe::test
