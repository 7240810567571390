#include "hit/guest.hpp"

#include "hit/calls.hpp"
#include "os/process.hpp"

namespace libprobe::hit {

void expect_guest() noexcept {
  settle_guest();
  while (auto* const call = take_spare()) give_back(*call);
  site::self.lent_follow = site::self.follow;
  site::self.spare_count = no_spares;
}

bool settle_guest() noexcept {
  if (site::self.spare_count != no_spares) return true;
  if (os::is_guest() && !os::was_copied()) return false;
  for (auto& call : site::used_calls()) {
    const auto owner = call.owner.load(std::memory_order_acquire);
    if (static_cast<int>(owner) == epoch::thread_number() && lies_at(call, site::call_place::in_guest)) {
      --site::self.open_calls;
      drop(call, owner);
    }
  }
  site::self.follow = site::self.lent_follow;
  site::self.spare_count = 0;
  return true;
}

}  // namespace libprobe::hit

extern "C" libprobe::site::step libprobe_on_spawn(libprobe::site::attachment& /*guard*/,
                                                  libprobe::site::hit& /*hit*/) {
  libprobe::hit::expect_guest();
  return libprobe::site::step::go_on;
}
