#include "api/retprobe_hooks.hpp"

#include <utility>

#include "hit/calls.hpp"
#include "site/thread.hpp"

namespace libprobe::api {

namespace {

retprobe_attachment& own(site::attachment& a) noexcept { return static_cast<retprobe_attachment&>(a); }

/// Where it is linked in.
retprobe_instance** append(site::followed_call& call, site::instance_pool& pool,
                           retprobe_instance& instance) noexcept {
  auto use = pool.return_vectors;
  auto** link = &call.instances;
  for (; *link != nullptr; link = &(*link)->next_in_call_) use.add(site::pool_of(**link).return_vectors);
  *link = &instance;
  site::self.taken = nullptr;
  arch::set_return_vectors(site::number_of(call), use);
  return link;
}

}  // namespace

site::step retprobe_before(site::attachment& a, site::hit& hit) {
  auto& pool = own(a);
  const auto used = hit.by_detour ? reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) : 0;
  // The call comes first: entry_handler runs only where the end of the call will be told, too.
  if (hit.call == nullptr) {
    hit.call = hit::begin_call(hit.regs, used);
    site::self.beginning = hit.call;
  }
  if (hit.call == nullptr) return site::step::missed;
  auto* instance = pool.take();
  if (instance == nullptr) {
    // Calls that longjmp left behind may hold some: another look for them.
    hit::drop_left_behind(hit.regs, used, *hit.call);
    instance = pool.take();
  }
  if (instance == nullptr && pool.may_ask()) {
    hit::drop_of_ended_threads();
    instance = pool.take();
    if (instance != nullptr) pool.asked_in_vain.store(0, std::memory_order_relaxed);
  }
  if (instance != nullptr) {
    a.hits.add(1);
    instance->probe_ = static_cast<retprobe*>(a.owner);
    instance->return_address_ = reinterpret_cast<void*>(arch::return_address(hit.regs));
    auto** const link = append(*hit.call, pool, *instance);  // the handler may never return
    if (pool.entered == nullptr || pool.entered(*instance, hit.regs) == 0) return site::step::go_on;
    *link = nullptr;
    pool.give(*instance);
  }
  if (hit.call->instances == nullptr) {
    site::self.beginning = nullptr;
    hit::end_call(*std::exchange(hit.call, nullptr));
  }
  return instance != nullptr ? site::step::go_on : site::step::missed;
}

void retprobe_abandoned(site::instance_pool& pool, retprobe_instance& instance) {
  arch::call_confined(reinterpret_cast<const void*>(own(pool).unwind_handler), &instance, nullptr, 0);
}

}  // namespace libprobe::api
