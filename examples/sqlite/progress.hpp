// Shows how far a long run is, and what time is left: a bar on a terminal, else a line every second.
#pragma once

#include <unistd.h>

#include <algorithm>
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
  /// `hits` may be empty; `expected`, of them, 0: not known. It is hits that take the time: at one step of a
  /// query there may be millions.
  progress(std::string title, const std::atomic<std::uint64_t>& steps, std::function<std::uint64_t()> hits,
           double expected)
      : title_{std::move(title)}, steps_{steps}, hits_{std::move(hits)}, expected_{expected} {
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
    const auto hits = hits_ ? hits_() : 0;
    auto line = fmt::format("  {}", title_);
    if (expected_ > 0) {
      constexpr int width = 30;
      const auto part = std::min(1.0, static_cast<double>(hits) / expected_);
      const std::string filled(static_cast<std::size_t>(part * width), '#');
      if (on_terminal_) line += fmt::format(" [{:.<{}}]", filled, width);
      line += fmt::format(" {:3.0f} %", part * 100);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began_;
      if (part > 0) line += fmt::format(", {:.0f} s left", passed.count() * (1 - part) / part);
    }
    line += fmt::format(", {} steps", text::grouped(steps_.load(std::memory_order_relaxed)));
    if (hits_) line += fmt::format(", {} hits", text::grouped(hits));
    if (on_terminal_) {
      fmt::print("\r\033[K{}", line);
    } else {
      fmt::print("{}\n", line);
    }
    std::fflush(stdout);
  }

  std::string title_;
  const std::atomic<std::uint64_t>& steps_;
  std::function<std::uint64_t()> hits_;
  double expected_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  bool on_terminal_ = isatty(STDOUT_FILENO) != 0;
  std::mutex lock_;
  std::condition_variable end_;
  bool ended_ = false;
  std::thread watcher_;
};
