#include "symbols/symbol_table.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <span>

#include "symbols/cxx_name.hpp"

namespace libprobe::symbols {
namespace {

std::uint32_t hash_of(std::string_view name) noexcept {
  return static_cast<std::uint32_t>(std::hash<std::string_view>{}(name));
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Calls visit for every "<length><identifier>" that a mangled name may have in it. It visits too much,
// because digits may mean something else, and may stand before a length ("_GLOBAL__N_1" "3foo"): the
// demangled name sorts that out.
template <class Visit>
void each_identifier(std::string_view mangled, Visit visit) {
  for (std::size_t begin = 2; begin < mangled.size(); ++begin) {
    std::size_t length = 0;
    std::size_t at = begin;
    for (; at < mangled.size() && is_digit(mangled[at]) && length < mangled.size(); ++at) {
      length = length * 10 + static_cast<std::size_t>(mangled[at] - '0');
    }
    if (length != 0 && length <= mangled.size() - at) visit(mangled.substr(at, length));
  }
}

// Those whose projection equals the key, in a vector that is sorted by it.
template <class T, class Key, class Projection>
std::span<const T> all_with(const std::vector<T>& sorted, const Key& key, Projection projection) {
  const auto first = std::ranges::lower_bound(sorted, key, {}, projection);
  return {first, std::ranges::upper_bound(first, sorted.end(), key, {}, projection)};
}

constexpr auto by_hash = [](const auto& entry) { return entry.first; };

}  // namespace

const symbol* symbol_table::covering(std::uintptr_t address) const noexcept {
  auto at = static_cast<std::size_t>(std::ranges::upper_bound(symbols_, address, {}, &symbol::start) -
                                     symbols_.begin());
  const symbol* best = nullptr;
  for (; at != 0 && furthest_[at - 1] > address; --at) {
    const symbol& one = symbols_[at - 1];
    if (best != nullptr && one.start != best->start) break;
    if (one.covers(address)) best = &one;
  }
  return best;
}

symbol_table::range symbol_table::around(std::uintptr_t address) const noexcept {
  constexpr std::uintptr_t most = 16U << 20U;  // a size beyond that is a mistake
  range whole;
  auto at = static_cast<std::size_t>(std::ranges::upper_bound(symbols_, address, {}, &symbol::start) -
                                     symbols_.begin());
  for (; at != 0 && furthest_[at - 1] > address; --at) {
    const symbol& one = symbols_[at - 1];
    if (one.what == symbol::kind::label || !one.covers(address) || one.size > most) continue;
    if (whole.end == 0) whole = {one.start, one.start};
    whole.start = std::min(whole.start, one.start);
    whole.end = std::max(whole.end, one.start + one.size);
  }
  return whole;
}

const symbol* symbol_table::nearest(std::uintptr_t address) const noexcept {
  const symbol* const around = covering(address);
  if (around == nullptr && unsized_before(address).which == nullptr) return nullptr;
  const auto above = std::ranges::upper_bound(symbols_, address, {}, &symbol::start);
  for (auto at = above; at != symbols_.begin();) {
    const symbol& one = *--at;
    if (around != nullptr && one.start <= around->start) break;
    if (one.size != 0) {
      if (around == nullptr) break;
      continue;
    }
    // Of aliases the best known.
    const auto first = std::ranges::lower_bound(symbols_, one.start, {}, &symbol::start);
    const auto known = std::find_if(first, above, [&](const symbol& other) {
      return other.size == 0 && other.what != symbol::kind::label;
    });
    const auto any = std::find_if(first, above, [](const symbol& other) { return other.size == 0; });
    return known != above && known->start == one.start ? &*known : &*any;
  }
  return around;
}

symbol_table::range symbol_table::labels_around(std::uintptr_t address) const noexcept {
  const auto section =
      std::ranges::find_if(executable_, [&](const range& one) { return one.holds(address); });
  if (section == executable_.end()) return {};
  const auto above = std::ranges::upper_bound(symbols_, address, {}, &symbol::start);
  range whole{address, section->end};
  for (auto at = above; at != symbols_.begin();) {
    const symbol& one = *--at;
    if (one.start < section->start || one.size != 0 || one.what != symbol::kind::label) break;
    // A label inside of a function that has a size is that one's.
    const auto before = static_cast<std::size_t>(at - symbols_.begin());
    if (before != 0 && furthest_[before - 1] > one.start) break;
    whole.start = one.start;
  }
  const auto next = std::find_if(above, symbols_.end(), [](const symbol& other) {
    return other.size != 0 || other.what != symbol::kind::label;
  });
  if (next != symbols_.end()) whole.end = std::min(whole.end, next->start);
  return whole;
}

std::span<const symbol_table::data> symbol_table::data_in(range where) const noexcept {
  const auto first = std::ranges::find_if(data_, [&](const data& one) { return one.end > where.start; });
  const auto last = std::find_if(first, data_.end(), [&](const data& one) { return one.start >= where.end; });
  return {first, last};
}

symbol_table::unsized symbol_table::unsized_before(std::uintptr_t address) const noexcept {
  const auto section =
      std::ranges::find_if(executable_, [&](const range& one) { return one.holds(address); });
  if (section == executable_.end()) return {};
  const auto above = std::ranges::upper_bound(symbols_, address, {}, &symbol::start);
  const auto next_after = [&](const symbol& one, bool functions_only) {
    const auto next = std::find_if(above, symbols_.end(), [&](const symbol& other) {
      return other.start > one.start && (!functions_only || other.what != symbol::kind::label);
    });
    return next == symbols_.end() ? section->end : std::min(section->end, next->start);
  };
  const symbol* label = nullptr;
  for (auto at = above; at != symbols_.begin();) {
    const symbol& one = *--at;
    // A sized symbol that ends before the address: whatever comes before it has ended too.
    if (one.start < section->start || one.size != 0) break;
    if (one.what != symbol::kind::label) {
      // Of aliases the best known is the first.
      const auto first = std::ranges::lower_bound(symbols_, one.start, {}, &symbol::start);
      const auto known =
          std::find_if(first, above, [](const symbol& other) { return other.what != symbol::kind::label; });
      return {&*known, next_after(one, true)};
    }
    if (label == nullptr || label->start == one.start) label = &one;
  }
  if (label == nullptr) return {};
  return {label, next_after(*label, false)};
}

std::vector<const symbol*> symbol_table::starting_at(std::uintptr_t address) const {
  std::vector<const symbol*> found;
  for (const symbol& one : all_with(symbols_, address, &symbol::start)) found.push_back(&one);
  return found;
}

std::vector<const symbol*> symbol_table::named(std::string_view name) const {
  std::vector<const symbol*> found;
  for (const auto& [hash, number] : all_with(names(), hash_of(name), by_hash)) {
    if (symbols_[number].name == name) found.push_back(&symbols_[number]);
  }
  return found;
}

std::vector<const symbol*> symbol_table::mangled_with(std::string_view identifier) const {
  std::vector<const symbol*> found;
  if (identifier.empty()) {
    for (const symbol& one : symbols_) {
      if (is_mangled(one.name)) found.push_back(&one);
    }
    return found;
  }
  for (const auto& [hash, number] : all_with(identifiers(), hash_of(identifier), by_hash)) {
    found.push_back(&symbols_[number]);
  }
  return found;
}

bool symbol_table::in_linkage(std::uintptr_t address) const noexcept {
  return std::ranges::any_of(linkage_, [&](const range& one) { return one.holds(address); });
}

const symbol_table::index& symbol_table::names() const {
  std::call_once(names_made_, [&] {
    names_.reserve(symbols_.size());
    for (std::uint32_t number = 0; number < symbols_.size(); ++number) {
      names_.emplace_back(hash_of(symbols_[number].name), number);
    }
    std::ranges::sort(names_);
  });
  return names_;
}

const symbol_table::index& symbol_table::identifiers() const {
  std::call_once(identifiers_made_, [&] {
    for (std::uint32_t number = 0; number < symbols_.size(); ++number) {
      const std::string_view name = symbols_[number].name;
      if (!is_mangled(name)) continue;
      each_identifier(name, [&](std::string_view one) { identifiers_.emplace_back(hash_of(one), number); });
    }
    std::ranges::sort(identifiers_);
    identifiers_.erase(std::unique(identifiers_.begin(), identifiers_.end()), identifiers_.end());
    identifiers_.shrink_to_fit();
  });
  return identifiers_;
}

}  // namespace libprobe::symbols
