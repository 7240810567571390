#include "control/hop_store.hpp"

#include <algorithm>

#include "os/text.hpp"
#include "site/site.hpp"

namespace libprobe::control {

namespace {

using rule = arch::distance_byte::rule;

constexpr std::uintptr_t lowest_address = 0x10000;
constexpr std::uintptr_t highest_address = 0x7fff'ffff'0000;

}  // namespace

bool hop_store::page::is_free(std::size_t offset) const noexcept {
  constexpr std::uint64_t all = (std::uint64_t{1} << arch::hop_length) - 1;
  const auto shift = offset % 64;
  auto bits = used[offset / 64] >> shift;
  if (shift + arch::hop_length > 64) bits |= used[offset / 64 + 1] << (64 - shift);
  return (bits & all) == 0;
}

void hop_store::page::mark(std::size_t offset, bool taken) noexcept {
  for (std::size_t i = offset; i < offset + arch::hop_length; ++i) {
    const auto bit = std::uint64_t{1} << (i % 64);
    used[i / 64] = taken ? used[i / 64] | bit : used[i / 64] & ~bit;
  }
  if (!taken) {
    first_free = std::min(first_free, offset);
  } else if (offset < first_free + arch::hop_length) {  // nothing fits in between
    first_free = offset + arch::hop_length;
  }
}

/// Addresses that a jump of one shape can reach: from its distance's highest byte down, each value that a
/// byte may have halves what is left, until one is free.
struct hop_store::interval {
  std::uintptr_t first, last;
};

class hop_store::search {
 public:
  search(const arch::jump_shape& shape, std::uintptr_t address) noexcept
      : shape_{shape}, base_{address + shape.window} {}

  /// Visits the intervals until `visit` says true.
  template <class F>
  bool any_interval(F&& visit) const {
    return descend(3, 0, visit);
  }
  [[nodiscard]] bool allows(std::uintptr_t target) const noexcept {
    const auto distance = static_cast<std::int64_t>(target - base_);
    if (distance != static_cast<std::int32_t>(distance)) return false;
    for (std::size_t i = 0; i < 4; ++i) {
      if (!allowed(i, static_cast<std::uint8_t>(static_cast<std::uint64_t>(distance) >> (8 * i))))
        return false;
    }
    return true;
  }
  /// The first address from `page` on where the upper half of the distance may be allowed: `page` itself or
  /// one in a later page, since one value of that half lasts for many of them.
  [[nodiscard]] std::uintptr_t next_upper_half(std::uintptr_t page) const noexcept {
    const auto end = page + page_bytes;
    for (auto at = page; at < end;) {
      const auto distance = static_cast<std::uint32_t>(at - base_);
      if (allowed(2, static_cast<std::uint8_t>(distance >> 16)) &&
          allowed(3, static_cast<std::uint8_t>(distance >> 24)))
        return page;
      at += 0x1'0000 - (distance & 0xffff);
      if (at >= end) return at;
    }
    return end;
  }
  /// The first allowed offset in a page for which `free` says true.
  template <class F>
  [[nodiscard]] std::optional<std::size_t> find_offset(std::uintptr_t page, std::size_t from,
                                                       F&& free) const {
    constexpr std::size_t end = page_bytes - arch::hop_length;
    for (std::size_t offset = from; offset <= end;) {
      const auto distance = static_cast<std::uint32_t>(page + offset - base_);
      const auto low = static_cast<std::uint8_t>(distance);
      if (!allows(page + offset - low)) {
        // Not by its upper bytes, or the lowest byte cannot be zero: look at the upper ones alone.
        bool upper = page + offset - base_ + 0x8000'0000 <= 0xffff'ffff;
        for (std::size_t i = 1; i < 4; ++i)
          upper = upper && allowed(i, static_cast<std::uint8_t>(distance >> (8 * i)));
        if (!upper) {
          offset += 256U - low;
          continue;
        }
      }
      if (allowed(0, low) && free(offset)) return offset;
      ++offset;
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] bool allowed(std::size_t i, std::uint8_t value) const noexcept {
    const auto& byte = shape_.distance[i];
    switch (byte.may) {
      case rule::fixed:
        return value == byte.value;
      case rule::trapping:
        return arch::is_trapping(value);
      default:
        return true;
    }
  }
  template <class F>
  bool descend(int i, std::uint32_t upper, F&& visit) const {
    const auto here = [&](std::uint8_t value) {
      return descend(i - 1, upper | static_cast<std::uint32_t>(value) << (8 * i), visit);
    };
    if (i >= 0 && shape_.distance[static_cast<std::size_t>(i)].may == rule::fixed)
      return here(shape_.distance[static_cast<std::size_t>(i)].value);
    if (i >= 0 && shape_.distance[static_cast<std::size_t>(i)].may == rule::trapping) {
      for (unsigned value = 0; value < 256; ++value) {
        const auto byte = static_cast<std::uint8_t>(value);
        if (arch::is_trapping(byte) && here(byte)) return true;
      }
      return false;
    }
    const std::uint64_t span = std::uint64_t{1} << (8 * (i + 1));
    if (i == 3) {  // anywhere: the nearest first, and never around the ends of the address space
      constexpr std::uintptr_t reach = 0x7fff'0000;
      const auto low = base_ > lowest_address + reach ? base_ - reach : lowest_address;
      return visit(interval{base_, std::min(base_ + reach, highest_address)}) || visit(interval{low, base_});
    }
    const auto distance = static_cast<std::int64_t>(static_cast<std::int32_t>(upper));
    const auto first = base_ + static_cast<std::uintptr_t>(distance);
    if (first < lowest_address || first + span > highest_address) return false;
    return visit(interval{first, first + span - 1});
  }

  const arch::jump_shape& shape_;
  std::uintptr_t base_;
};

std::optional<std::uintptr_t> hop_store::place_in_known_page(const search& wanted) {
  std::optional<std::uintptr_t> found;
  constexpr int patience = 24;
  const auto look_in = [&](auto& candidate) {
    const auto offset = wanted.find_offset(candidate.first, candidate.second.first_free,
                                           [&](std::size_t at) { return candidate.second.is_free(at); });
    if (!offset) return false;
    candidate.second.mark(*offset, true);
    found = last_page_ = candidate.first + *offset;
    last_page_ &= ~(page_bytes - 1);
    return true;
  };
  // Shapes and addresses come in runs that can share a page.
  if (const auto last = pages_.find(last_page_); last != pages_.end() && look_in(*last)) return found;
  wanted.any_interval([&](const interval& in) {
    auto at = pages_.lower_bound(in.first & ~(page_bytes - 1));
    for (int tries = 0; tries < patience && at != pages_.end() && at->first <= in.last; ++tries, ++at) {
      if (look_in(*at)) return true;
    }
    return false;
  });
  return found;
}

std::optional<std::uintptr_t> hop_store::place_in_new_page(const search& wanted) {
  if (!gaps_known_) gaps_ = os::free_for_code();
  gaps_known_ = true;
  std::optional<std::uintptr_t> found;
  wanted.any_interval([&](const interval& in) {
    constexpr int patience = 48;
    int tries = 0;
    auto gap = std::upper_bound(gaps_.begin(), gaps_.end(), in.first,
                                [](std::uintptr_t at, const os::address_range& g) { return at < g.end; });
    for (; gap != gaps_.end() && gap->start <= in.last && tries < patience; ++gap) {
      auto at = std::max(gap->start, in.first & ~(page_bytes - 1));
      for (; at + page_bytes <= gap->end && at <= in.last && tries < patience; at += page_bytes) {
        if (const auto next = wanted.next_upper_half(at); next != at) {
          at = (next & ~(page_bytes - 1)) - page_bytes;
          continue;
        }
        ++tries;
        if (pages_.contains(at)) continue;
        const auto offset = wanted.find_offset(at, 0, [](std::size_t) { return true; });
        if (!offset) continue;
        fresh_pages_.reserve(fresh_pages_.size() + 1);
        site::hop_pages.reserve(1);
        const auto made = pages_.try_emplace(at).first;
        if (!os::map_code_at(at, page_bytes)) {  // somebody else was faster
          pages_.erase(made);
          continue;
        }
        fresh_pages_.push_back(at);
        site::hop_pages.insert(at, "");
        made->second.mark(*offset, true);
        found = at + *offset;
        return true;
      }
    }
    return false;
  });
  return found;
}

std::optional<std::uintptr_t> hop_store::place(const arch::jump_shape& shape, std::uintptr_t address,
                                               bool may_grow) {
  const search wanted{shape, address};
  if (auto found = place_in_known_page(wanted)) return found;
  const auto bound = free_bytes + bytes_a_hop * (known_.size() + 1);  // fresh ones are among them
  if (!may_grow || bytes() + page_bytes > bound) return std::nullopt;
  return place_in_new_page(wanted);
}

std::optional<std::uintptr_t> hop_store::known(const arch::jump_shape& shape, std::uintptr_t address,
                                               std::uintptr_t target) const {
  const auto found = known_.find({address, target});
  return found != known_.end() && search{shape, address}.allows(found->second) ? std::optional{found->second}
                                                                               : std::nullopt;
}

bool hop_store::may_know(const arch::jump_shape& shape, std::uintptr_t address) const {
  const search wanted{shape, address};
  for (auto k = known_.lower_bound({address, 0}); k != known_.end() && k->first.first == address; ++k) {
    if (wanted.allows(k->second)) return true;
  }
  return false;
}

void hop_store::lead(std::uintptr_t hop, std::uintptr_t address, std::uintptr_t target) {
  fresh_hop fresh{hop, address, target, {}};
  arch::write_hop(hop, target, fresh.code);
  fresh_.push_back(fresh);
  known_.try_emplace({address, target}, 0);  // so that write() need not allocate
}

void hop_store::take_back(std::uintptr_t hop) noexcept {
  pages_[hop & ~(page_bytes - 1)].mark(hop % page_bytes, false);
}

errc hop_store::write() {
  gaps_known_ = false;
  if (fresh_.empty()) {
    drop();
    return errc::ok;
  }
  std::sort(fresh_.begin(), fresh_.end(), [](const fresh_hop& a, const fresh_hop& b) { return a.at < b.at; });
  std::vector<os::edit> edits;
  edits.reserve(fresh_.size());
  for (const auto& f : fresh_)
    edits.push_back({f.at, nullptr, f.code.data(), static_cast<std::uint32_t>(f.code.size()),
                     os::edit::outcome::pending});
  if (!os::write_text(edits, true)) {
    drop();
    return errc::text_not_writable;
  }
  for (const auto& f : fresh_) known_[{f.address, f.target}] = f.at;
  fresh_.clear();
  fresh_pages_.clear();
  return errc::ok;
}

void hop_store::drop() noexcept {
  gaps_known_ = false;
  for (const auto& f : fresh_) {
    take_back(f.at);
    const auto known = known_.find({f.address, f.target});
    if (known != known_.end() && known->second == 0) known_.erase(known);
  }
  fresh_.clear();
  for (const auto added : fresh_pages_) {
    site::hop_pages.erase(added);
    os::unmap_code(added, page_bytes);
    pages_.erase(added);
  }
  fresh_pages_.clear();
}

}  // namespace libprobe::control
