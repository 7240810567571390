// The end of removals.
#include <libprobe/registration.hpp>

#include "api/detail.hpp"
#include "api/place.hpp"
#include "epoch/epoch.hpp"
#include "hit/calls.hpp"
#include "hit/run.hpp"

namespace libprobe {

namespace {

errc after_commit(errc answer) noexcept {
  if (answer != errc::would_deadlock) {
    // Retprobes are kept while calls of theirs are open: those of ended threads never return.
    const epoch::section section;
    const hit::in_handler unwind_handlers_may_run;
    hit::drop_of_ended_threads();
  }
  return answer;
}

}  // namespace

errc api::commit_these(std::span<handle* const> handles) noexcept {
  return after_commit(control::registry::instance().commit(handles));
}
errc api::commit_all() noexcept { return after_commit(control::registry::instance().commit()); }

std::error_code commit_probes() noexcept { return api::refuse(api::commit_all()); }

}  // namespace libprobe
