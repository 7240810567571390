#include "control/specification.hpp"

namespace libprobe::control {

namespace {

using method = arch::displaced::method;

/// A detour that does one thing serves others that want the same, if it can do it for many.
bool serves(site::purpose detour, site::purpose wanted) noexcept {
  using enum site::purpose;
  return detour == any || (detour == follow && wanted == follow);
}

}  // namespace

void specification::add(const specification& other) noexcept {
  step = step || other.step;
  code = code || other.code;
  entry = entry || other.entry;
  pointed = pointed || other.pointed;
  follow = follow || other.follow;
  after = after || other.after;
  no_jump = no_jump || other.no_jump;
  replaced = replaced || other.replaced;
  if (!serves(purpose, other.purpose)) purpose = site::purpose::any;
}

void specification::add_present(const site::site& at) noexcept {
  step = step || at.plan.how == method::step;
  code = code || at.code != nullptr;
  after = after || at.after_by_detour;
  no_jump = no_jump || (at.jump == nullptr && at.why_trap == nullptr);
  replaced = replaced || at.original_by_trap != 0;
  const bool both_follow = at.detour_for == site::purpose::follow && purpose == site::purpose::follow;
  if (!both_follow) purpose = site::purpose::any;
}

bool specification::met_by(const site::site& at) const noexcept {
  if (step && at.plan.how != method::step && !arch::is_branch(at.plan)) return false;
  if (code && at.code == nullptr) return false;
  if (replaced && at.original_by_trap == 0) return false;
  return at.jump == nullptr || (!no_jump && serves(at.detour_for, purpose) && (!after || at.after_by_detour));
}

}  // namespace libprobe::control
