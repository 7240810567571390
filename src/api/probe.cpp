// The probe's semantics as wiring: user handlers onto an attachment's hooks.
#include <libprobe/batch.hpp>
#include <libprobe/probe.hpp>

#include "api/place.hpp"
#include "api/probe_hooks.hpp"

namespace libprobe {

namespace {

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::probe_attachment&>(base);
  a.part(a);
  delete &a;
  return true;
}

}  // namespace

result<api::wish> api::wish_for(probe& p) {
  const bool any_handler =
      p.pre_handler != nullptr || p.post_handler != nullptr || p.fault_handler != nullptr;
  if (!any_handler) return errc::no_handler;
  auto* a = new api::probe_attachment;
  auto wish = api::wish_of(p, a);
  api::fill(*a, p, 'k', release);
  a->pre_handler = p.pre_handler;
  a->post_handler = p.post_handler;
  a->fault_handler = p.fault_handler;
  if (p.pre_handler != nullptr) a->before = api::probe_before;
  if (p.post_handler == nullptr && p.fault_handler == nullptr) a->attachment::pre_handler = p.pre_handler;
  if (p.post_handler != nullptr) a->after = api::probe_after;
  if (p.fault_handler != nullptr) a->fault = api::probe_fault;
  a->vectors = api::vectors_of(p.flags, p.pre_handler, p.post_handler);
  wish.need.step = any(p.flags & probe_flags::single_step);
  wish.need.after = p.post_handler != nullptr;
  return wish;
}

std::error_code register_probes(std::span<probe* const> probes) noexcept { return api::register_all(probes); }
std::error_code register_probe(probe& p) noexcept {
  probe* const one[] = {&p};
  return register_probes(one);
}
void unregister_probe_fast(probe& p) noexcept { api::detach(p.state_); }
void unregister_probe(probe& p) noexcept {
  probe* const one[] = {&p};
  api::unregister_all(std::span<probe* const>{one});
}
void unregister_probes(std::span<probe* const> probes) noexcept { api::unregister_all(probes); }
std::error_code enable_probe(probe& p) noexcept { return api::set_disabled(p.state_, false); }
std::error_code disable_probe(probe& p) noexcept { return api::set_disabled(p.state_, true); }

}  // namespace libprobe
