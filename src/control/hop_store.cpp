#include "control/hop_store.hpp"

#include <algorithm>
#include <bit>

#include "os/text.hpp"
#include "site/site.hpp"

namespace libprobe::control {

namespace {

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

struct hop_store::interval {
  std::uintptr_t first, last;
};

/// Addresses that a jump of one shape can reach.
class hop_store::search {
 public:
  search(const arch::jump_shape& shape, std::uintptr_t address) noexcept
      : fixed_{shape.fixed}, distance_{shape.distance}, base_{address + shape.window} {}

  /// Visits the intervals that the distance's highest bytes leave, until `visit` says true.
  template <class F>
  bool any_interval(F&& visit) const {
    const auto free_bits = 32 - std::countl_one(fixed_);
    if (free_bits == 32) {  // anywhere: the nearest first, and never around the ends of the address space
      constexpr std::uintptr_t reach = 0x7fff'0000;
      const auto low = base_ > lowest_address + reach ? base_ - reach : lowest_address;
      return visit(interval{base_, std::min(base_ + reach, highest_address)}) || visit(interval{low, base_});
    }
    const std::uint64_t span = std::uint64_t{1} << free_bits;
    const auto upper = distance_ & ~static_cast<std::uint32_t>(span - 1);
    const auto first = base_ + static_cast<std::uintptr_t>(std::int64_t{static_cast<std::int32_t>(upper)});
    if (first < lowest_address || first + span > highest_address) return false;
    return visit(interval{first, first + span - 1});
  }
  [[nodiscard]] bool allows(std::uintptr_t target) const noexcept {
    return in_reach(target) && agrees(target, ~std::uint32_t{0});
  }
  /// The first address from `page` on where the upper half of the distance may be allowed: `page` itself or
  /// one in a later page, since one value of that half lasts for many of them.
  [[nodiscard]] std::uintptr_t next_upper_half(std::uintptr_t page) const noexcept {
    const auto end = page + page_bytes;
    for (auto at = page; at < end;) {
      if (agrees(at, 0xffff'0000)) return page;
      at += 0x1'0000 - ((at - base_) & 0xffff);
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
      const auto at = page + offset;
      const auto low = (at - base_) & 0xff;
      if (!in_reach(at) || !agrees(at, 0xffff'ff00)) {
        offset += 256 - low;  // to the next value of the upper bytes
      } else if (!agrees(at, 0xff)) {
        offset += (distance_ - low) & 0xff;  // to the one lowest byte
      } else if (free(offset)) {
        return offset;
      } else {
        ++offset;
      }
    }
    return std::nullopt;
  }

 private:
  [[nodiscard]] bool in_reach(std::uintptr_t target) const noexcept {
    return target - base_ + 0x8000'0000 <= 0xffff'ffff;
  }
  [[nodiscard]] bool agrees(std::uintptr_t target, std::uint32_t bits) const noexcept {
    return ((static_cast<std::uint32_t>(target - base_) ^ distance_) & fixed_ & bits) == 0;
  }

  std::uint32_t fixed_, distance_;
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
