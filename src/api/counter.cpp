// The counter: an attachment without hooks.
#include <libprobe/batch.hpp>
#include <libprobe/counter.hpp>

#include "api/place.hpp"

namespace libprobe {

namespace {

bool release(site::attachment& a) noexcept {
  a.part(a);
  delete &a;
  return true;
}

}  // namespace

result<api::wish> api::wish_for(counter& c) {
  auto* a = new site::attachment;
  auto wish = api::wish_of(c, a);
  api::fill(*a, c, 'k', release);
  a->counts = true;
  wish.need.purpose = site::purpose::count;
  return wish;
}

std::error_code register_counters(std::span<counter* const> counters) noexcept {
  return api::register_all(counters);
}
std::error_code register_counter(counter& c) noexcept {
  counter* const one[] = {&c};
  return register_counters(one);
}
void unregister_counter_fast(counter& c) noexcept { api::detach(c.state_); }
void unregister_counter(counter& c) noexcept {
  counter* const one[] = {&c};
  api::unregister_all(std::span<counter* const>{one});
}
void unregister_counters(std::span<counter* const> counters) noexcept { api::unregister_all(counters); }
std::error_code enable_counter(counter& c) noexcept { return api::set_disabled(c.state_, false); }
std::error_code disable_counter(counter& c) noexcept { return api::set_disabled(c.state_, true); }

}  // namespace libprobe
