#include "control/hop_store.hpp"

#include <algorithm>
#include <bit>

#include "os/text.hpp"
#include "site/site.hpp"

namespace libprobe::control {

namespace {

constexpr std::uintptr_t page_of(std::uintptr_t address) noexcept { return site::hop_page_of(address); }

/// So that push_back() and insert() cannot fail.
template <class T>
void make_room(std::vector<T>& in) {
  if (in.size() == in.capacity()) in.reserve(2 * in.size() + 8);
}

}  // namespace

std::size_t hop_store::page::next_free(std::size_t from) const noexcept {
  constexpr std::uint64_t all = (std::uint64_t{1} << arch::hop_length) - 1;
  while (from <= last_place) {
    const auto shift = from % 64;
    auto taken = (*used)[from / 64] >> shift;
    if (shift + arch::hop_length > 64) taken |= (*used)[from / 64 + 1] << (64 - shift);
    if ((taken & all) == 0) break;
    from += static_cast<std::size_t>(std::bit_width(taken & all));
  }
  return from;
}

void hop_store::page::mark(std::size_t offset, bool taken) noexcept {
  for (std::size_t i = offset; i < offset + arch::hop_length; ++i) {
    const auto bit = std::uint64_t{1} << (i % 64);
    auto& word = (*used)[i / 64];
    word = taken ? word | bit : word & ~bit;
  }
  if (!taken) {
    first_free = std::min(first_free, offset);
  } else if (offset < first_free + arch::hop_length) {  // nothing fits in between
    first_free = offset + arch::hop_length;
  }
}

std::vector<hop_store::page>::iterator hop_store::page_from(std::uintptr_t start) noexcept {
  return std::lower_bound(pages_.begin(), pages_.end(), start,
                          [](const page& p, std::uintptr_t a) { return p.start < a; });
}

std::optional<std::uintptr_t> hop_store::place_in(page& in, const arch::jump_reach& wanted) noexcept {
  for (auto at = wanted.next(in.start + in.first_free); at - in.start <= last_place;) {
    const auto offset = at - in.start;
    const auto free = in.next_free(offset);
    if (free == offset) {
      in.mark(offset, true);
      last_page_ = in.start;
      return at;
    }
    at = wanted.next(in.start + free);
  }
  return std::nullopt;
}

std::optional<std::uintptr_t> hop_store::place(const arch::jump_shape& shape,
                                               std::uintptr_t address) noexcept {
  const arch::jump_reach wanted{shape, address};
  // Shapes and addresses come in runs that can share a page.
  if (const auto last = page_from(last_page_); last != pages_.end() && last->start == last_page_) {
    if (const auto found = place_in(*last, wanted)) return found;
  }
  for (auto at = pages_.begin(); at != pages_.end();) {
    const auto target = wanted.next(at->start + at->first_free);
    if (target == arch::jump_reach::none) break;
    if (target - at->start >= page_bytes) {
      at = page_from(page_of(target));
    } else if (const auto found = place_in(*at, wanted)) {
      return found;
    } else {
      ++at;
    }
  }
  return std::nullopt;
}

std::optional<std::uintptr_t> hop_store::place_in_new_page(const arch::jump_shape& shape,
                                                           std::uintptr_t address) {
  if (bytes() + page_bytes > most_bytes_) return std::nullopt;
  const arch::jump_reach wanted{shape, address};
  if (!gaps_known_) gaps_ = os::free_for_code();
  gaps_known_ = true;
  int patience = 8;
  for (const auto from : {wanted.middle(), std::uintptr_t{0}}) {
    for (auto at = wanted.next(from); at != arch::jump_reach::none;) {
      const auto gap =
          std::upper_bound(gaps_.begin(), gaps_.end(), at,
                           [](std::uintptr_t a, const os::address_range& g) { return a < g.end; });
      if (gap == gaps_.end()) break;
      const auto start = page_of(at);
      if (at < gap->start) {
        at = wanted.next(gap->start);
      } else if (at - start > last_place) {
        at = wanted.next(start + page_bytes);
      } else if (add_page(start, gap)) {
        return place_in(*page_from(start), wanted);
      } else if (--patience == 0) {
        return std::nullopt;
      }
    }
  }
  return std::nullopt;
}

/// False: somebody else was faster, or the kernel refuses.
bool hop_store::add_page(std::uintptr_t start, std::vector<os::address_range>::iterator gap) {
  make_room(pages_);
  make_room(fresh_pages_);
  site::hop_pages.reserve(1);
  page made{start, std::make_unique<page::bitmap>()};
  // No gap any more, whatever comes of it.
  const os::address_range behind{start + page_bytes, gap->end};
  gap = gaps_.insert(gap + 1, behind) - 1;
  gap->end = start;
  if (!os::map_code_at(start, page_bytes)) return false;
  fresh_pages_.push_back(start);
  site::hop_pages.insert(start, "");
  pages_.insert(page_from(start), std::move(made));
  return true;
}

std::optional<std::uintptr_t> hop_store::known(const arch::jump_shape& shape, std::uintptr_t address,
                                               std::uintptr_t target) const {
  const arch::jump_reach wanted{shape, address};
  const auto [first, last] = known_.equal_range(address);
  const auto found = std::find_if(
      first, last, [&](const auto& k) { return k.second.target == target && wanted.allows(k.second.at); });
  return found != last ? std::optional{found->second.at} : std::nullopt;
}

bool hop_store::may_know(const arch::jump_shape& shape, std::uintptr_t address) const {
  const arch::jump_reach wanted{shape, address};
  const auto [first, last] = known_.equal_range(address);
  return std::any_of(first, last, [&](const auto& k) { return wanted.allows(k.second.at); });
}

void hop_store::lead(std::uintptr_t at, std::uintptr_t address, std::uintptr_t target) {
  make_room(fresh_);
  fresh_hop fresh{at, address, &known_.emplace(address, hop{0, target})->second, {}};
  arch::write_hop(at, target, fresh.code);
  fresh_.push_back(fresh);
}

void hop_store::take_back(std::uintptr_t at) noexcept {
  page_from(page_of(at))->mark(at % page_bytes, false);
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
  for (const auto& f : fresh_) f.known->at = f.at;
  fresh_.clear();
  fresh_pages_.clear();
  return errc::ok;
}

void hop_store::drop() noexcept {
  gaps_known_ = false;
  for (const auto& f : fresh_) {
    take_back(f.at);
    const auto [first, last] = known_.equal_range(f.address);
    known_.erase(std::find_if(first, last, [&](const auto& k) { return &k.second == f.known; }));
  }
  fresh_.clear();
  for (const auto added : fresh_pages_) {
    site::hop_pages.erase(added);
    os::unmap_code(added, page_bytes);
    pages_.erase(page_from(added));
  }
  fresh_pages_.clear();
}

}  // namespace libprobe::control
