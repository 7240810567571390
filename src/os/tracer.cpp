#include "os/tracer.hpp"

#include <string_view>

#include "os/raw.hpp"

namespace libprobe::os {

namespace {

bool look() noexcept {
  const raw::file status{"/proc/thread-self/status", O_RDONLY};
  char text[1024];  // the line is one of the first
  const long size = status ? status.read(text, sizeof text) : 0;
  const std::string_view lines{text, size > 0 ? static_cast<std::size_t>(size) : 0};
  constexpr std::string_view key = "\nTracerPid:\t";
  const auto at = lines.find(key);
  return at != std::string_view::npos && at + key.size() < lines.size() && lines[at + key.size()] != '0';
}

bool look_for_others() noexcept {
  const raw::file status{"/proc/self/status", O_RDONLY};
  char text[4096];
  const long size = status ? status.read(text, sizeof text) : 0;
  return std::string_view{text, size > 0 ? static_cast<std::size_t>(size) : 0}.find("\nThreads:\t1\n") ==
         std::string_view::npos;
}

constinit std::atomic<std::uint64_t> looked_at{0};
constinit std::atomic<bool> found{false};

}  // namespace

bool is_traced() noexcept {
  // A debugger that comes stops all threads for longer than that.
  constexpr std::uint64_t good_for = 3'000'000;
  const auto now = arch::ticks();
  if (now - looked_at.load(std::memory_order_relaxed) > good_for) {
    found.store(look(), std::memory_order_relaxed);
    looked_at.store(now, std::memory_order_relaxed);
  }
  return found.load(std::memory_order_relaxed);
}

bool is_only_thread() noexcept { return !look_for_others(); }

}  // namespace libprobe::os
