#include "api/retprobe_hooks.hpp"

#include <utility>

#include "hit/calls.hpp"
#include "site/thread.hpp"

namespace libprobe::api {

namespace {

retprobe_attachment& own(site::attachment& a) noexcept { return static_cast<retprobe_attachment&>(a); }

/// Behind those of this hit, and in front of those of calls that led here by tail calls. Where it is linked
/// in.
retprobe_instance** link_in(site::hit& hit, site::instance_pool& pool, retprobe_instance& instance) noexcept {
  auto& call = *hit.call;
  const auto number = site::number_of(call);
  auto use = pool.return_vectors;
  if (call.instances != nullptr) use.add(arch::return_vectors(number));
  arch::set_return_vectors(number, use);
  auto** const link = hit.next_instance != nullptr ? hit.next_instance : &call.instances;
  instance.state_.next_in_call = *link;
  *link = &instance;
  site::self.taken = nullptr;
  hit.next_instance = &instance.state_.next_in_call;
  return link;
}

}  // namespace

site::step retprobe_before(site::attachment& a, site::hit& hit) {
  auto& pool = own(a);
  // The call comes first: entry_handler runs only where the end of the call will be told, too.
  if (hit.call == nullptr) hit::follow_call(hit);
  if (hit.call == nullptr) return site::step::missed;
  auto* const instance = hit::take_with_look(pool.of_ended_threads, [&pool] { return pool.take(); });
  if (instance != nullptr) {
    a.hits.add(1);
    instance->state_.probe = static_cast<retprobe*>(a.owner);
    instance->state_.return_address = reinterpret_cast<void*>(
        hit.joined ? arch::saved_return(site::number_of(*hit.call)) : arch::return_address(hit.regs));
    auto** const link = link_in(hit, pool, *instance);  // the handler may never return
    if (pool.entered == nullptr || pool.entered(*instance, hit.regs) == 0) return site::step::go_on;
    *link = instance->state_.next_in_call;
    hit.next_instance = link;
    pool.give(*instance);
  }
  if (hit.call->instances == nullptr) {
    site::self.beginning = nullptr;
    hit::end_call(*std::exchange(hit.call, nullptr));
    hit.next_instance = nullptr;
  }
  return instance != nullptr ? site::step::go_on : site::step::missed;
}

void retprobe_abandoned(site::instance_pool& pool, retprobe_instance& instance) {
  arch::call_confined(reinterpret_cast<const void*>(own(pool).unwind_handler), &instance, nullptr, 0);
}

}  // namespace libprobe::api
