// The jprobe: its entry, called in ordinary context.
#include <libprobe/batch.hpp>
#include <libprobe/jprobe.hpp>

#include "api/jprobe_hooks.hpp"
#include "api/place.hpp"

namespace libprobe {

namespace {

bool release(site::attachment& base) noexcept {
  auto& a = static_cast<api::jprobe_attachment&>(base);
  a.part(a);
  delete &a;
  return true;
}

}  // namespace

result<api::wish> api::wish_for(jprobe& p) {
  if (p.entry == nullptr) return errc::no_handler;
  auto* a = new api::jprobe_attachment;
  auto wish = api::wish_of(p, a);
  api::fill(*a, p, 'j', release);
  a->entry = p.entry;
  a->stack_bytes = p.stack_bytes;
  a->before = api::jprobe_before;
  a->counts_itself = true;
  a->vectors = api::vectors_of(p.flags, p.entry);
  a->vectors.add(arch::vector_use{arch::vector_use::nothing, false, true});
  wish.need.code = true;
  wish.need.entry = true;
  return wish;
}

std::error_code register_jprobes(std::span<jprobe* const> probes) noexcept {
  return api::register_all(probes);
}
std::error_code register_jprobe(jprobe& p) noexcept {
  jprobe* const one[] = {&p};
  return register_jprobes(one);
}
void unregister_jprobe_fast(jprobe& p) noexcept { api::detach(p.state_); }
void unregister_jprobe(jprobe& p) noexcept {
  jprobe* const one[] = {&p};
  api::unregister_all(std::span<jprobe* const>{one});
}
void unregister_jprobes(std::span<jprobe* const> probes) noexcept { api::unregister_all(probes); }
std::error_code enable_jprobe(jprobe& p) noexcept { return api::set_disabled(p.state_, false); }
std::error_code disable_jprobe(jprobe& p) noexcept { return api::set_disabled(p.state_, true); }

}  // namespace libprobe
