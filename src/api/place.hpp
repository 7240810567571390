// What the kinds have in common: from user objects to placed attachments, and back.
#pragma once

#include <algorithm>
#include <array>
#include <libprobe/probe.hpp>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/detail.hpp"
#include "control/counter_store.hpp"
#include "control/registry.hpp"
#include "os/signals.hpp"
#include "os/threads.hpp"
#include "site/thread.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

struct counter;
struct jprobe;
struct latency;
struct replacement;
struct retprobe;

namespace api {

/// Frees an attachment that was never placed.
struct discard {
  void operator()(site::attachment* a) const noexcept;
};
using attachment_ptr = std::unique_ptr<site::attachment, discard>;

/// What one probe asks for. `what.owner`, hooks and counters are set by the kind.
struct wish {
  const location* at = nullptr;
  detail::probe_state* state = nullptr;
  attachment_ptr what;
  control::request need;  // step, code, entry
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
/// Tells the user's object that it is free, unless it was registered again meanwhile. Under the registry's
/// lock.
void forget(detail::probe_state& state, site::attachment& a) noexcept;

/// An attachment of type A with what every kind sets. Throws std::bad_alloc: then its release() works.
template <class A, class Probe>
A& fill(A& a, Probe& p, char kind, bool (*release)(site::attachment&) noexcept) {
  a.part = [](site::attachment& base) noexcept {
    if (base.owner != nullptr) forget(static_cast<Probe*>(base.owner)->state_, base);
    base.owner = nullptr;
  };
  a.release = release;
  a.book = control::take_ledger();
  a.hits.begin(a.book->by_others, a.book->own.column.load(std::memory_order_relaxed));
  a.missed = &a.book->missed;
  a.disabled = any(p.flags & probe_flags::disabled);
  a.resting = a.disabled;
  a.kind = kind;
  a.owner = &p;
  a.on_stack_of = os::is_on_own_stack(&p) ? os::thread_id() : 0;
  return a;
}

/// What every kind wishes; the attachment is the wish's.
template <class Probe>
wish wish_of(Probe& p, site::attachment* a) {
  wish made{&p.at, &p.state_, attachment_ptr{a}, {}, any(p.flags & probe_flags::pending)};
  made.need.no_jump = any(p.flags & probe_flags::no_jump);
  return made;
}

/// Resolves, places and arms, all or nothing. Throws std::bad_alloc and has changed nothing then.
std::error_code place(std::span<wish> wishes);

/// Of each kind: what it asks for, or why it cannot be placed at all. Throws std::bad_alloc.
result<wish> wish_for(probe& p);
result<wish> wish_for(jprobe& p);
result<wish> wish_for(retprobe& p);
result<wish> wish_for(replacement& r);
result<wish> wish_for(counter& c);
result<wish> wish_for(latency& l);

/// The same, of an object that may not have been constructed yet: then `detail` says so.
template <class Probe>
result<wish> wish_of_any(Probe& p, std::string& detail) {
  if (p.at.what() != location::kind::unborn) return wish_for(p);
  static_cast<void>(symbols::resolve(p.at, detail));
  return errc::malformed_location;
}

/// register_KINDs().
template <class Probe>
std::error_code register_all(std::span<Probe* const> probes) noexcept {
  const site::quiet no_handlers;
  try {
    std::vector<wish> wishes;
    wishes.reserve(probes.size());
    for (auto* p : probes) {
      std::string detail;
      auto made = wish_of_any(*p, detail);
      if (!made) return refuse(made.error(), std::move(detail));
      wishes.push_back(std::move(*made));
    }
    return place(wishes);
  } catch (const std::bad_alloc&) {
    return refuse(errc::out_of_memory);
  }
}

inline void detach(detail::probe_state& state) noexcept {
  std::atomic<void*>* const one[] = {&state.attachment};
  control::registry::instance().detach(one);
}

/// Some at a time, since each call takes a lock.
template <class Probe>
void detach_all(std::span<Probe* const> probes) noexcept {
  std::array<std::atomic<void*>*, 64> handles;
  while (!probes.empty()) {
    const auto some = probes.first(std::min(probes.size(), handles.size()));
    std::transform(some.begin(), some.end(), handles.begin(), [](Probe* p) { return &p->state_.attachment; });
    control::registry::instance().detach(std::span{handles}.first(some.size()));
    probes = probes.subspan(some.size());
  }
}

/// One grace period for all that is queued, and the end of the calls that are inside of these.
errc commit_these(std::span<std::atomic<void*>* const> handles) noexcept;

/// unregister_KINDs().
template <class Probe>
void unregister_all(std::span<Probe* const> probes) noexcept {
  detach_all(probes);
  if (probes.size() == 1) {
    std::atomic<void*>* const one[] = {&probes.front()->state_.attachment};
    refuse(commit_these(one));
    return;
  }
  const site::quiet no_handlers;
  try {
    std::vector<std::atomic<void*>*> handles;
    handles.reserve(probes.size());
    for (auto* p : probes) handles.push_back(&p->state_.attachment);
    refuse(commit_these(handles));
  } catch (const std::bad_alloc&) {
    refuse(control::registry::instance().commit());
  }
}

inline std::error_code set_disabled(detail::probe_state& state, bool disabled) noexcept {
  return refuse(control::registry::instance().set_disabled(state.attachment, disabled));
}

}  // namespace api

}  // namespace libprobe
