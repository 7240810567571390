#include "api/jprobe_hooks.hpp"

#include "site/guest_runs.hpp"
#include "site/thread.hpp"

namespace libprobe {

namespace api {

namespace {

jprobe_attachment& own(site::attachment& a) noexcept { return static_cast<jprobe_attachment&>(a); }

}  // namespace

site::step jprobe_before(site::attachment& a, site::hit& hit) {
  if (!hit.ordinary) return site::step::missed;  // registered while this hit was on its way
  a.hits.add(1);
  site::outcall_run run{&a, {}, site::self.jprobe};
  site::self.jprobe = &run;
  if (hit.vectors == nullptr && !hit.first) arch::reload_vectors(hit.regs, hit.saved);
  arch::call_function(own(a).entry, hit.regs, hit.vectors, own(a).stack_bytes, run.call);
  site::self.jprobe = run.outer;
  return site::step::go_on;
}

site::step replacement_before(site::attachment& a, site::hit& hit) {
  if (hit.replacement != nullptr) return site::step::missed;  // one function runs, the first
  a.hits.add(1);
  hit.replacement = &a;
  const auto count = a.begun.own_place();  // inside the section that keeps `a`
  site::self.chosen_at = hit.regs.sp();
  libprobe_choose(reinterpret_cast<void**>(&site::self.chosen), &a, count.shared ? 1 : 0, count.word);
  return site::step::go_on;
}

void replacement_run(site::attachment& a, registers& regs, void* vectors) {
  const auto& r = static_cast<const replacement_attachment&>(a);
  arch::call_in_place(r.entry, regs, vectors, r.stack_bytes, r.result);
}

void replacement_run_live(site::attachment& a, registers& regs) {
  const auto& r = static_cast<const replacement_attachment&>(a);
  arch::call_live(r.entry, regs, r.stack_bytes, r.result);
}

}  // namespace api

void jprobe_return() noexcept { arch::return_early(site::self.jprobe->call); }

jprobe* current_jprobe() noexcept {
  const auto* run = site::self.jprobe;
  return run != nullptr ? static_cast<jprobe*>(run->what->owner) : nullptr;
}

replacement* current_replacement() noexcept {
  site::end_guest_runs();
  const auto* run = site::self.replacement;
  return run != nullptr ? static_cast<replacement*>(run->what->owner) : nullptr;
}

}  // namespace libprobe
