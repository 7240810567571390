#include "hit/guest.hpp"

#include "hit/calls.hpp"
#include "hit/run.hpp"
#include "site/guest_runs.hpp"

namespace libprobe::hit {

void expect_guest() noexcept {
  if (!settle_guest()) return;  // a guest that expects one: what its thread has lent is noted
  while (auto* const call = take_spare()) give_back(*call);
  site::self.lent_follow = site::self.follow;
  site::self.lent_replacement = site::self.replacement;
  site::self.spare_count = no_spares;
  site::self.may_have_guest = true;
}

bool settle_guest() noexcept {
  if (!site::self.may_have_guest) return true;
  if (site::may_be_guest()) return false;
  for (auto& call : site::used_calls()) {
    const auto owner = call.owner.load(std::memory_order_acquire);
    if (static_cast<int>(owner) == epoch::thread_number() && lies_at(call, site::call_place::in_guest)) {
      --site::self.open_calls;
      drop(call, owner);
    }
  }
  site::self.follow = site::self.lent_follow;
  site::self.spare_count = 0;
  site::end_guest_runs();
  site::self.may_have_guest = false;
  return true;
}

bool settle_guest_between_hits() noexcept {
  const epoch::section section;
  const in_handler unwind_handlers_may_run;
  return settle_guest();
}

site::step on_spawn(site::attachment& /*guard*/, site::hit& /*hit*/) noexcept {
  expect_guest();
  return site::step::go_on;
}

}  // namespace libprobe::hit
