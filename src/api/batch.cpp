#include <libprobe/batch.hpp>

#include "control/registry.hpp"

#include "api/detail.hpp"

namespace libprobe {

std::error_code commit_probes() noexcept { return api::refuse(control::registry::instance().commit()); }

batch::~batch() {
  if (!added_.empty() || !removed_.empty()) commit();
}

batch& batch::add(probe& p) {
  added_.push_back(&p);
  return *this;
}

batch& batch::remove(probe& p) {
  removed_.push_back(&p);
  return *this;
}

std::error_code batch::commit() noexcept {
  // Removals first: a probe that is both removed and added ends registered.
  for (auto* p : removed_) unregister_probe_fast(*p);
  const auto added = added_.empty() ? std::error_code{} : register_probes(added_);
  removed_.clear();
  added_.clear();
  const auto committed = commit_probes();
  return added ? added : committed;
}

}  // namespace libprobe
