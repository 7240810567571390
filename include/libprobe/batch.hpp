// Many changes in one patching pass, many removals in one grace period.
#pragma once

#include <libprobe/counter.hpp>
#include <libprobe/jprobe.hpp>
#include <libprobe/latency.hpp>
#include <libprobe/probe.hpp>
#include <libprobe/replacement.hpp>
#include <libprobe/retprobe.hpp>
#include <variant>
#include <vector>

namespace libprobe {

/// ONE grace period for every probe, of any kind, that any thread has queued by unregister_*_fast(); then all
/// of them are cleaned up. When it returns no handler of them runs, and the objects may be freed or
/// registered anew.
///
/// Blocks until every handler that was running has returned. From inside a handler that would be for ever: it
/// fails with errc::would_deadlock and leaves the queue to a later commit. errc::text_not_writable if a
/// breakpoint could not be taken back: that place stays a (harmless) breakpoint without handlers. The probes
/// are free all the same.
std::error_code commit_probes() noexcept;

/// Collects additions and removals and applies them together. Not for use by two threads at once. The
/// destructor commits what has been collected; errors of that are lost, so call commit() where they matter.
class batch {
 public:
  batch() = default;
  ~batch();
  batch(const batch&) = delete;
  batch& operator=(const batch&) = delete;

  /// Collects. The object must stay until commit() (for remove: it may be registered again afterwards).
  /// Allocates; throws std::bad_alloc. A probe that is both removed and added ends registered.
  batch& add(probe& p) { return collect(added_, &p); }
  batch& add(jprobe& p) { return collect(added_, &p); }
  batch& add(retprobe& p) { return collect(added_, &p); }
  batch& add(replacement& p) { return collect(added_, &p); }
  batch& add(counter& p) { return collect(added_, &p); }
  batch& add(latency& p) { return collect(added_, &p); }
  batch& remove(probe& p) { return collect(removed_, &p); }
  batch& remove(jprobe& p) { return collect(removed_, &p); }
  batch& remove(retprobe& p) { return collect(removed_, &p); }
  batch& remove(replacement& p) { return collect(removed_, &p); }
  batch& remove(counter& p) { return collect(removed_, &p); }
  batch& remove(latency& p) { return collect(removed_, &p); }

  /// Removes all that is to be removed and adds all that is to be added: the additions all or nothing, in one
  /// patching pass. If they are refused the error is returned, and the removals still hold. Then
  /// commit_probes(). The batch is empty afterwards.
  std::error_code commit() noexcept;

 private:
  using any_kind = std::variant<probe*, jprobe*, retprobe*, replacement*, counter*, latency*>;

  batch& collect(std::vector<any_kind>& into, any_kind what) {
    into.push_back(what);
    return *this;
  }

  std::vector<any_kind> added_;
  std::vector<any_kind> removed_;
};

}  // namespace libprobe
