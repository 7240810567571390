#include <libprobe/batch.hpp>

#include "api/kind.hpp"

namespace libprobe {

batch::~batch() {
  if (!added_.empty() || !removed_.empty()) commit();
}

std::error_code batch::commit() noexcept {
  using some = std::span<const detail::any_probe>;
  // Removals first: a probe that is both removed and added ends registered.
  api::detach_all(some{removed_});
  const auto added = added_.empty() ? std::error_code{} : api::register_all(some{added_});
  const auto committed = api::commit_these(some{removed_});
  removed_.clear();
  added_.clear();
  return added ? added : api::refuse(committed);  // a refused addition's detail stays
}

}  // namespace libprobe
