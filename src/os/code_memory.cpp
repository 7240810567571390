#include "os/code_memory.hpp"

#include <algorithm>

#include "os/maps.hpp"
#include "os/raw.hpp"

namespace libprobe::os {

namespace {

constexpr std::uintptr_t lowest = 0x10000;            // vm.mmap_min_addr
constexpr std::uintptr_t highest = 0x7fff'ffff'0000;  // user addresses of 47 bits

bool map_at(std::uintptr_t address, std::size_t size) noexcept {
  const long got = raw::map(address, size, PROT_READ | PROT_EXEC, MAP_FIXED_NOREPLACE);
  if (raw::refused(got)) return false;
  const auto at = static_cast<std::uintptr_t>(got);
  if (at == address) return true;
  raw::unmap(at, size);  // a kernel older than the flag takes it as a hint
  return false;
}

std::uintptr_t distance(std::uintptr_t a, std::uintptr_t b) noexcept { return a > b ? a - b : b - a; }

}  // namespace

std::optional<std::uintptr_t> map_code(std::uintptr_t near, std::uintptr_t reach, std::size_t size) {
  const auto align_up = [size](std::uintptr_t a) { return (a + size - 1) & ~(size - 1); };
  const auto align_down = [size](std::uintptr_t a) { return a & ~(size - 1); };
  const auto low = reach != 0 && near > lowest + reach ? near - reach : lowest;
  const auto high = reach != 0 && near < highest - reach ? near + reach : highest;

  // Another thread may map into a gap that was just found; and there are mappings that nobody knows of where
  // /proc is missing. What was tried in vain is taken for ever larger ones.
  std::vector<address_range> tried;
  for (int attempt = 0; attempt < 48; ++attempt) {
    std::vector<address_range> taken = tried;
    for (const auto& one : known_maps()) taken.push_back({one.start, one.end});
    std::ranges::sort(taken, {}, &address_range::start);
    std::optional<std::uintptr_t> best;
    const auto consider = [&](std::uintptr_t from, std::uintptr_t to) {  // a gap
      from = align_up(std::max(from, low));
      to = std::min(to, high);
      if (to < size || from > to - size) return;
      const auto candidate = std::clamp(align_down(near), from, align_down(to - size));
      if (!best || distance(candidate, near) < distance(*best, near)) best = candidate;
    };
    std::uintptr_t free_from = lowest;
    for (const auto& one : taken) {
      // The kernel keeps a gap below stacks; stay off both neighbours of any mapping by some pages.
      constexpr std::uintptr_t margin = 0x1000;
      if (one.start > free_from + margin) consider(free_from, one.start - margin);
      free_from = std::max(free_from, one.end + margin);
    }
    consider(free_from, highest);
    if (!best) return std::nullopt;
    if (map_at(*best, size)) return best;
    const auto around = size << std::min(attempt / 2, 14);
    tried.push_back({*best > around ? *best - around : 0, *best + around});
  }
  return std::nullopt;
}

bool map_code_at(std::uintptr_t address, std::size_t size) noexcept { return map_at(address, size); }

std::vector<address_range> free_for_code() {
  // The main stack grows down by what its limit allows, and keeps a gap; the heap grows up. Programs seldom
  // use that much of either, and malloc() does without a heap that cannot grow.
  constexpr std::uintptr_t stack_room = 0x200'0000;
  constexpr std::uintptr_t heap_room = 0x400'0000;
  std::vector<address_range> found;
  std::uintptr_t free_from = lowest;
  const auto add = [&](std::uintptr_t to) {
    if (to > free_from) found.push_back({free_from, to});
  };
  for (const auto& one : known_maps()) {
    const bool stack = one.path == "[stack]";
    add(stack ? std::max(lowest, one.start - stack_room) : one.start);
    free_from = std::max(free_from, one.end + (one.path == "[heap]" ? heap_room : 0));
  }
  add(highest);
  return found;
}

void unmap_code(std::uintptr_t address, std::size_t size) noexcept { raw::unmap(address, size); }

}  // namespace libprobe::os
