#include "control/code_map.hpp"

#include <algorithm>

namespace libprobe::control {

namespace {

constexpr std::size_t longest_trail = 24;

}  // namespace

code_map::code_map(std::span<const std::uint8_t> bytes, std::uintptr_t start, const marks& known)
    : bytes_{bytes}, start_{start}, what_(bytes.size(), content::unknown), targets_(bytes.size()) {
  for (const auto& one : known.data) {
    if (one.relocated) {
      relocated_.push_back(one);
    } else {
      mark_data(one.start, one.end);
    }
  }
  for (const auto at : known.code) targets_[at] = true;
  for (const auto at : known.perhaps) targets_[at] = true;
  if (known.perhaps.empty() || known.perhaps.front() != 0) to_follow_.push_back(0);
  to_follow_.insert(to_follow_.end(), known.code.rbegin(), known.code.rend());
  settle();
  // Labels of tables are loaded by somebody: these come last. By whom may stand behind another label.
  for (const auto at : known.perhaps) look_for_loads(at);
  for (const bool loaded : {false, true}) {
    for (const auto at : known.perhaps) {
      if (what_[at] != content::unknown || (!loaded && is_loaded(at))) continue;
      follow(at);
      settle();
    }
  }
  // What has turned out to be no operand.
  for (const auto& one : relocated_) mark_data(one.start, one.end);
}

/// What code that begins there would load, if it is code.
void code_map::look_for_loads(std::size_t at) {
  while (at < bytes_.size() && what_[at] == content::unknown) {
    const auto here = arch::decode(bytes_.subspan(at));
    if (!here) return;
    const auto flow = arch::flow_of(*here, start_ + at);
    if (flow.loads && *flow.loads - start_ < bytes_.size()) may_be_loaded_.push_back(*flow.loads - start_);
    if (!flow.goes_on) return;
    at += here->length;
  }
}

bool code_map::is_loaded(std::size_t at) const noexcept {
  if (std::find(may_be_loaded_.begin(), may_be_loaded_.end(), at) != may_be_loaded_.end()) return true;
  return std::any_of(loads_.begin(), loads_.end(), [&](const auto& one) {
    const auto loaded = arch::flow_of(one.what, one.address).loads;
    return loaded && *loaded - start_ == at;
  });
}

void code_map::settle() {
  do {
    while (!to_follow_.empty()) {
      const auto next = to_follow_.back();
      to_follow_.pop_back();
      follow(next);
    }
  } while (look_for_tables());
}

/// True if the bytes are no instruction after all: a relocation says so, unless it is that of an operand.
bool code_map::meets_data(std::size_t at, const arch::instruction& what) noexcept {
  const auto end = at + what.length;
  for (auto i = at; i < end; ++i) {
    if (what_[i] == content::data) return true;
  }
  const auto one = std::find_if(relocated_.begin(), relocated_.end(),
                                [&](const auto& r) { return r.start < end && r.end > at; });
  if (one == relocated_.end()) return false;
  if (one->start <= at || !arch::is_operand(what, one->start - at, one->end - one->start)) return true;
  relocated_.erase(one);
  return false;
}

void code_map::follow(std::size_t from) {
  targets_[from] = true;
  for (auto at = from; follow_one(at);) {
  }
}

/// False where the code ends, or has been followed before. What leads into the middle of an instruction (over
/// a lock prefix, say) is a way into that one, and none of its own.
bool code_map::follow_one(std::size_t& at) {
  if (at >= bytes_.size() || what_[at] != content::unknown) return false;
  const auto here = arch::decode(bytes_.subspan(at));
  if (!here || meets_data(at, *here)) return false;
  const auto address = start_ + at;
  what_[at] = content::instruction;
  for (std::size_t i = 1; i < here->length; ++i) {
    if (what_[at + i] == content::unknown) what_[at + i] = content::inside;
  }
  const auto flow = arch::flow_of(*here, address);
  if (flow.branch && *flow.branch - start_ < bytes_.size()) {
    targets_[*flow.branch - start_] = true;
    to_follow_.push_back(*flow.branch - start_);
  }
  if (flow.loads && *flow.loads - start_ < bytes_.size()) loads_.push_back({address, *here});
  if (flow.indirect_jump) jumps_.push_back(at);
  at += here->length;
  return flow.goes_on;
}

/// The instructions before a jump, and the jump.
std::vector<arch::placed_instruction> code_map::trail_to(std::size_t jump) const {
  std::vector<arch::placed_instruction> trail;
  for (auto at = jump;; --at) {
    if (what_[at] == content::instruction) {
      const auto here = arch::split(bytes_.subspan(at));
      if (!here || (at != jump && !arch::flow_of(*here, start_ + at).goes_on)) break;
      trail.push_back({start_ + at, *here});
      if (trail.size() == longest_trail) break;
    } else if (what_[at] != content::inside) {
      break;
    }
    if (at == 0) break;
  }
  std::reverse(trail.begin(), trail.end());
  return trail;
}

/// True if there is more to be followed.
bool code_map::look_for_tables() {
  const auto jumps = std::move(jumps_);
  jumps_.clear();
  for (const auto jump : jumps) {
    if (const auto table = arch::table_of(trail_to(jump), loads_)) note_table(*table);
  }
  return !to_follow_.empty();
}

/// As many entries as there may be: up to one that leads out of the function, or to what something leads to.
void code_map::note_table(const arch::jump_table& table) {
  const auto from = table.start - start_;
  if (from >= bytes_.size()) return;
  auto end = from;
  for (std::size_t count = 0; count < table.most && end + table.entry_size <= bytes_.size(); ++count) {
    bool may_be = true;
    for (std::size_t i = 0; i < table.entry_size; ++i)
      may_be = may_be && (end + i == from || !targets_[end + i]);
    if (!may_be) break;
    const auto target = arch::table_target(table, bytes_.subspan(end, table.entry_size)) - start_;
    if (target >= bytes_.size() || what_[target] == content::data) break;
    if (target >= from && target < end + table.entry_size) break;
    targets_[target] = true;
    to_follow_.push_back(target);
    end += table.entry_size;
  }
  mark_data(from, end);
}

void code_map::mark_data(std::size_t from, std::size_t to) noexcept {
  to = std::min(to, what_.size());
  if (from >= to) return;
  std::fill(what_.begin() + static_cast<std::ptrdiff_t>(from),
            what_.begin() + static_cast<std::ptrdiff_t>(to), content::data);
  has_data_ = true;
}

}  // namespace libprobe::control
