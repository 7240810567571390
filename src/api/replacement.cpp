// The replacement: another function in a function's place.
#include <libprobe/batch.hpp>
#include <libprobe/replacement.hpp>

#include "api/jprobe_hooks.hpp"
#include "api/place.hpp"
#include "epoch/epoch.hpp"

namespace libprobe {

namespace {

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::jprobe_attachment&>(base);
  if (a.running.load(std::memory_order_acquire) > 0) return false;  // pairs with libprobe_on_replacement()
  a.part(a);
  delete &a;
  return true;
}

}  // namespace

result<api::wish> api::wish_for(replacement& r) {
  if (r.entry == nullptr) return errc::no_handler;
  auto* a = new api::jprobe_attachment;
  auto wish = api::wish_of(r, a);
  api::fill(*a, r, 'j', release);
  a->entry = r.entry;
  a->stack_bytes = r.stack_bytes;
  a->result = r.result;
  a->before = api::replacement_before;
  a->replace = api::replacement_run;
  a->replace_live = api::replacement_run_live;
  // Exception flags belong to the thread, as in any call.
  if (!any(r.flags & probe_flags::standard_abi))
    a->vectors = api::vectors_of(r.flags, r.entry).vectors_only();
  wish.need.purpose = site::purpose::replace;
  wish.need.code = true;
  wish.need.entry = true;
  return wish;
}

std::error_code register_replacement(replacement& r) noexcept {
  replacement* const one[] = {&r};
  return api::register_all(std::span<replacement* const>{one});
}
void unregister_replacement_fast(replacement& r) noexcept { api::detach(r.state_); }
void unregister_replacement(replacement& r) noexcept {
  replacement* const one[] = {&r};
  api::unregister_all(std::span<replacement* const>{one});
}

void* original(const replacement& r) noexcept {
  const auto* a = static_cast<const site::attachment*>(r.state_.attachment.load(std::memory_order_acquire));
  if (a == nullptr) return nullptr;
  const epoch::section section;  // the site may be planned anew, or go while `entry` is still running
  const auto* at = a->where.load(std::memory_order_acquire);
  return reinterpret_cast<void*>((at != nullptr ? at->body : a->body).load(std::memory_order_acquire));
}

}  // namespace libprobe
