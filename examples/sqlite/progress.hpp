// Shows how far a long run is: a bar on a terminal, else a line every second.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "text.hpp"

/// Watches a counter until it is destroyed.
class progress {
 public:
  /// `expected` 0: not known. `hits` may be empty.
  progress(std::string title, const std::atomic<std::uint64_t>& done, std::uint64_t expected,
           std::function<std::uint64_t()> hits = {})
      : title_{std::move(title)}, done_{done}, expected_{expected}, hits_{std::move(hits)} {
    watcher_ = std::thread{[this] { watch(); }};
  }
  ~progress() {
    {
      const std::lock_guard guard{lock_};
      ended_ = true;
    }
    end_.notify_one();
    watcher_.join();
    if (on_terminal_) std::fputs("\r\033[K", stdout);
    std::fflush(stdout);
  }
  progress(const progress&) = delete;
  progress& operator=(const progress&) = delete;

 private:
  void watch() {
    using namespace std::chrono_literals;
    std::unique_lock held{lock_};
    while (!end_.wait_for(held, on_terminal_ ? 200ms : 1000ms, [this] { return ended_; })) show();
  }

  void show() const {
    const auto done = done_.load(std::memory_order_relaxed);
    auto line = fmt::format("  {}", title_);
    if (expected_ != 0) {
      constexpr std::uint64_t width = 30;
      const auto filled = std::min(width, done * width / expected_);
      if (on_terminal_) line += fmt::format(" [{:.<{}}]", std::string(filled, '#'), width);
      line += fmt::format(" {:3} %", std::min<std::uint64_t>(100, done * 100 / expected_));
    }
    line += fmt::format(", {} steps", text::grouped(done));
    if (hits_) line += fmt::format(", {} hits", text::grouped(hits_()));
    if (on_terminal_) {
      fmt::print("\r\033[K{}", line);
    } else {
      fmt::print("{}\n", line);
    }
    std::fflush(stdout);
  }

  std::string title_;
  const std::atomic<std::uint64_t>& done_;
  std::uint64_t expected_;
  std::function<std::uint64_t()> hits_;
  bool on_terminal_ = isatty(STDOUT_FILENO) != 0;
  std::mutex lock_;
  std::condition_variable end_;
  bool ended_ = false;
  std::thread watcher_;
};
