// Many changes in one patching pass, many removals in one grace period.
#pragma once

#include <libprobe/kinds.hpp>
#include <libprobe/registration.hpp>
#include <vector>

namespace libprobe {

/// Collects additions and removals of probes of any kinds, and applies them together. Any thread, but not two
/// at once. The destructor commits what has been collected; errors of that are lost, so call commit() where
/// they matter.
class batch {
 public:
  batch() = default;
  ~batch();
  batch(const batch&) = delete;
  batch& operator=(const batch&) = delete;

  /// Collects a probe of any kind: nothing happens to it before commit(), and until then the object must
  /// stay. One that is both removed and added ends registered. Allocates; throws std::bad_alloc.
  template <class Probe>
  requires requires(Probe& p) { detail::of_any_kind(p); }
  batch& add(Probe& p) { return collect(added_, detail::of_any_kind(p)); }
  template <class Probe>
  requires requires(Probe& p) { detail::of_any_kind(p); }
  batch& remove(Probe& p) { return collect(removed_, detail::of_any_kind(p)); }

  /// Removes all that is to be removed and adds all that is to be added: the additions all or nothing, in one
  /// patching pass. If they are refused the error is returned, and the removals still hold. Then
  /// commit_probes(): blocks for one grace period; in a handler or a replacement it cannot, and the answer is
  /// errc::would_deadlock. The batch is empty afterwards.
  std::error_code commit() noexcept;

 private:
  batch& collect(std::vector<detail::any_probe>& into, detail::any_probe what) {
    into.push_back(what);
    return *this;
  }

  std::vector<detail::any_probe> added_;
  std::vector<detail::any_probe> removed_;
};

}  // namespace libprobe
