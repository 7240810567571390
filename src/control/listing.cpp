#include "control/listing.hpp"

#include <utility>

namespace libprobe::control {

namespace {

const char* why_trap(const site::site& at) noexcept {
  if (at.yields) return "another probe needs the text of its jump";
  return at.retreated ? "too many branches led into the jump" : at.why_trap;
}

arch::tactic tactic_of(const site::site& at) noexcept {
  return at.jump != nullptr && !at.yields && !at.retreated ? at.jump->shape.how : arch::tactic::breakpoint;
}

}  // namespace

void add_entries(const site::site& at, const std::shared_ptr<const symbols::module>& gone_with,
                 std::vector<entry>& to) {
  for (const auto* a = at.first.load(); a != nullptr; a = a->next.load()) {
    if (a->removed || a->owner == nullptr) continue;
    to.push_back({at.address,
                  a->kind,
                  a->disabled,
                  at.plan.how,
                  at.now == site::text::jump,
                  tactic_of(at),
                  why_trap(at),
                  a->book->hits(),
                  a->missed->load(std::memory_order_relaxed),
                  gone_with,
                  {},
                  {}});
  }
}

void add_entry(const waiting& one, std::vector<entry>& to) {
  entry row{};
  row.kind = one.need.what->kind;
  row.disabled = one.need.what->disabled;
  row.waits_for = one.name;
  row.why_not_placed = one.why;
  to.push_back(std::move(row));
}

}  // namespace libprobe::control
