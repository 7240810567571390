#include "api/retprobe_hooks.hpp"

#include "hit/calls.hpp"
#include "site/thread.hpp"

namespace libprobe::api {

namespace {

retprobe_attachment& own(site::attachment& a) noexcept { return static_cast<retprobe_attachment&>(a); }

void append(site::followed_call& call, retprobe_instance& instance) noexcept {
  auto** link = &call.instances;
  while (*link != nullptr) link = &(*link)->next_in_call_;
  *link = &instance;
}

}  // namespace

site::step retprobe_before(site::attachment& a, site::hit& hit) {
  auto& pool = own(a);
  auto* instance = pool.take();
  if (instance == nullptr) {
    // Calls that longjmp left behind may hold some: a first look for them.
    hit::drop_left_behind(hit.regs);
    instance = pool.take();
    if (instance == nullptr) return site::step::missed;
  }
  instance->probe_ = static_cast<retprobe*>(a.owner);
  instance->return_address_ = reinterpret_cast<void*>(arch::return_address(hit.regs));
  if (pool.entry_handler != nullptr && pool.entry_handler(*instance, hit.regs) != 0) {
    pool.give(*instance);
    return site::step::go_on;
  }
  if (hit.call == nullptr) {
    hit.call = hit::begin_call(hit.regs);
    if (hit.vectors != nullptr) site::self.run->call = hit.call;
  }
  if (hit.call == nullptr) {
    pool.give(*instance);
    return site::step::missed;
  }
  append(*hit.call, *instance);
  return site::step::go_on;
}

void retprobe_returned(site::instance_pool& pool, retprobe_instance& instance, registers& regs) {
  own(pool).return_handler(instance, regs);
}

void retprobe_abandoned(site::instance_pool& pool, retprobe_instance& instance) {
  own(pool).unwind_handler(instance);
}

}  // namespace libprobe::api
