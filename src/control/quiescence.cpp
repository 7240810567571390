#include "control/quiescence.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <span>

#include "arch/trap.hpp"
#include "os/maps.hpp"
#include "os/text.hpp"
#include "os/threads.hpp"

namespace libprobe::control {

namespace {

/// Room for a copy of some memory, outside of everything that is looked at.
class window {
 public:
  static constexpr std::size_t size = std::size_t{256} * 1024;

  window() noexcept
      : start_{mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)} {}
  ~window() {
    if (*this) munmap(start_, size);
  }
  window(const window&) = delete;
  window& operator=(const window&) = delete;

  explicit operator bool() const noexcept { return start_ != MAP_FAILED; }
  [[nodiscard]] std::span<std::uint8_t> bytes() const noexcept {
    return {static_cast<std::uint8_t*>(start_), size};
  }
  [[nodiscard]] bool holds(std::uintptr_t address) const noexcept {
    return address - reinterpret_cast<std::uintptr_t>(start_) < size;
  }

 private:
  void* start_;
};

/// What lies below a thread's stack pointer, what leaf functions have there aside, is nobody's any more.
std::uintptr_t lowest_live(const os::mapping& memory, std::uintptr_t own_sp,
                           std::span<const os::parked_thread> threads) noexcept {
  auto lowest = memory.end;
  const auto consider = [&](std::uintptr_t sp) {
    if (sp >= memory.start && sp < memory.end)
      lowest = std::min(lowest, std::max(memory.start, sp - arch::red_zone));
  };
  consider(own_sp);
  for (const auto& t : threads) consider(t.sp);
  // Several stacks, or none, may lie in one mapping (a program's own allocator): only the lowest counts, and
  // where there is one, all above it is looked at.
  return lowest == memory.end ? memory.start : lowest & ~(sizeof(std::uintptr_t) - 1);
}

}  // namespace

bool visit_held_words(const std::function<bool(std::uintptr_t, std::size_t)>& skip,
                      const std::function<void(std::uintptr_t)>& seen) {
  const auto before = os::parked_threads();
  const window copy;
  if (!before || !copy) return false;
  for (const auto& t : *before) seen(t.ip);
  const auto own_sp = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  const auto maps = os::read_maps();
  if (!maps) return false;
  for (const auto& memory : *maps) {
    if (!memory.writable || !memory.readable || copy.holds(memory.start)) continue;
    for (auto at = lowest_live(memory, own_sp, *before); at < memory.end;) {
      const auto part = copy.bytes().first(std::min<std::size_t>(window::size, memory.end - at));
      if (os::read_memory(at, part)) {
        for (std::size_t i = 0; i + sizeof(std::uintptr_t) <= part.size(); i += sizeof(std::uintptr_t)) {
          std::uintptr_t word = 0;
          std::copy_n(part.begin() + static_cast<std::ptrdiff_t>(i), sizeof word,
                      reinterpret_cast<std::uint8_t*>(&word));
          if (!skip(at + i, sizeof word)) seen(word);
        }
      } else if (memory.path.empty() || memory.path.front() == '[') {
        return false;  // a file may have become shorter than its mapping; memory proper must be readable
      }
      at += part.size();
    }
  }
  const auto after = os::parked_threads();
  return after && *after == *before;
}

}  // namespace libprobe::control
