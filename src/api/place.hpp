// From what probes ask for to placed attachments, whatever their kinds.
#pragma once

#include <libprobe/location.hpp>
#include <libprobe/registration.hpp>
#include <memory>
#include <span>

#include "control/registry.hpp"
#include "site/site.hpp"

namespace libprobe::api {

/// Frees an attachment that was never placed.
struct discard {
  void operator()(site::attachment* a) const noexcept;
};
using attachment_ptr = std::unique_ptr<site::attachment, discard>;

/// What one probe asks for.
struct wish {
  const location* at = nullptr;
  detail::probe_state* state = nullptr;
  attachment_ptr what;
  control::request need;  // what its kind and its flags ask of the place
  bool may_wait = false;  // for its module
};

/// As arch::vectors_used_by(), which reads code: remembers the last answers. Control side.
arch::vector_use vectors_used_by(std::uintptr_t function);

/// What a probe's handlers may do to the extended state, if it is known: none for those that promise it.
template <class... Handlers>
arch::vector_use vectors_of(probe_flags flags, Handlers... handlers) {
  arch::vector_use use;
  if (any(flags & probe_flags::general_regs_only)) return use;
  const auto add = [&use](auto* handler) {
    if (handler != nullptr) use.add(vectors_used_by(reinterpret_cast<std::uintptr_t>(handler)));
  };
  (add(handlers), ...);
  return use;
}

/// Resolves, places and arms, all or nothing. Throws std::bad_alloc and has changed nothing then.
std::error_code place(std::span<wish> wishes);

/// Tells the user's object that it is free, unless it was registered again meanwhile. Under the registry's
/// lock.
void forget(detail::probe_state& state, site::attachment& a) noexcept;

using handle = std::atomic<void*>;

/// One grace period for all that is queued, and the end of the calls that are inside of these.
errc commit_these(std::span<handle* const> handles) noexcept;
errc commit_all() noexcept;

}  // namespace libprobe::api
