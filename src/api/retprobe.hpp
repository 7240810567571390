// What kinds that follow calls have in common.
#pragma once

#include "api/retprobe_hooks.hpp"
#include "control/registry.hpp"

namespace libprobe::api {

/// Instances for `maxactive` calls at once; 0: a default that suits the machine. Throws std::bad_alloc.
void reserve_instances(retprobe_attachment& a, std::size_t maxactive, std::size_t data_size);
/// The hooks at both ends, for the handlers that are set, and what they need of the site.
void follow_calls(retprobe_attachment& a, control::request& need);
/// Calls that have not returned hold instances: pairs with the release in instance_pool::give().
inline bool no_call_is_open(const retprobe_attachment& a) noexcept { return !a.in_use.any(); }

}  // namespace libprobe::api
