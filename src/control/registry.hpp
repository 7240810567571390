// Control, as the api sees it: one registry for the process, which owns the parts, calls them under control's
// lock (but for pending_probes::look_up()), and waits for grace periods without it. Only control writes text
// and sites, but for a hit that retreats, and one that dies of a fault and puts the original bytes back.
//
// Floor: control, on site, epoch, os, symbols and arch; beside hit, which it may not include, nor hit it.
// Only the api includes this header, and in control counter_store.cpp (for a lock), engine.cpp and fork.cpp
// (for forks). Of the parts each knows those above it in this list only; site_text also knows two parts of
// the planner: the functions' text and the planner of jumps.
//   module_watch   modules come and go, and sites go with them
//   site_text      breakpoints and jumps are put into the program's text and taken back
//   removal        queue, unlink, take a ticket, free when it is complete
//   site_planner   what becomes of a request, before anything is changed
//   registration   plan, publish, arm
//   pending        probes that wait for their module
//   guards         libprobe's own probes in libc and the loader
// Words: a *site* is a probed address; an *attachment*, a probe or a guard that is registered there or
// pending; a *request*, one that wants to be; the *ledger*, see site/ledger.hpp; a *grace period* is over
// when no hit holds any more what was taken out before it.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/fork_lock.hpp"
#include "control/guards.hpp"
#include "control/listing.hpp"
#include "control/module_watch.hpp"
#include "control/pending.hpp"
#include "control/registration.hpp"
#include "control/removal.hpp"
#include "control/request.hpp"
#include "control/site_planner.hpp"
#include "control/site_text.hpp"
#include "epoch/retirement.hpp"
#include "os/process.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

/// One per process, never destroyed. All members: any thread, also from inside handlers where not said
/// otherwise. None of them holds its lock while waiting for a grace period, so a handler never waits for one
/// by them.
class registry {
 public:
  static registry& instance() noexcept;

  /// All or nothing. On success the attachments are the registry's, those that wait too. On failure they are
  /// the caller's again, or (when handlers may have been running already) have been released. Nothing, and
  /// nothing has changed: an address, which was found in the modules `known`, lies in another one by now.
  /// `hooks` is what guards call, from the first success on.
  std::optional<errc> attach(std::span<request> requests, std::span<waiting> later,
                             const symbols::snapshot& known, const guard_hooks& hooks, std::string& detail);

  /// Lets an attachment rest for good and queues it. Nothing for an empty handle or a queued one.
  void detach(handles which) noexcept;

  /// One grace period for everything queued, by whomever. errc::would_deadlock from inside a handler. What
  /// calls are still inside of (replacements) is waited for, too: all of it, or that of some handles.
  errc commit() noexcept { return commit(nullptr); }
  errc commit(handles only) noexcept { return commit(&only); }

  errc set_disabled(std::atomic<void*>& handle, bool disabled) noexcept;
  /// True if the handle's attachment is placed or waits, and is not queued for removal.
  bool is_registered(const std::atomic<void*>& handle) noexcept;

  /// Visits the handle's attachment, if it is placed and not queued for removal.
  template <class F>
  void with_attachment(const std::atomic<void*>& handle, F&& visit) noexcept {
    const site::quiet no_handlers;
    settle();
    const std::lock_guard guard{lock_};
    const auto* a = attachment_of(handle);
    if (a != nullptr && !a->removed) visit(*a);
  }

  std::vector<entry> list();

  /// The user's object is no more: nobody reads its counts.
  void end_ledger(std::atomic<void*>& ledger) noexcept;

  /// The loader has loaded or unloaded something: what lay in modules that are no more is gone.
  void modules_changed() noexcept;
  /// The loaded modules are whole, and constructors are about to run: places what waited for them. As if
  /// called by a constructor.
  void place_waiting() noexcept;

  /// For tests: how many slots may lie idle before they are reclaimed, and how many chunks of code there are.
  void set_idle_bound(std::size_t slots) noexcept {
    const std::lock_guard guard{lock_};
    planner_.slots().set_idle_bound(slots);
  }
  std::size_t code_chunks() noexcept {
    const std::lock_guard guard{lock_};
    return planner_.slots().chunks();
  }

  /// For looking names up outside of the members above. fork() waits for it, as for those: a thread that is
  /// inside the symbol tables or the loader at that moment is gone in the child, and its locks stay locked.
  fork_lock& lookups() noexcept {
    settle();
    return lookups_;
  }
  /// For what registration takes from stores of its own: innermost, nothing else is taken while it is held.
  fork_lock& stores() noexcept {
    settle();
    return stores_;
  }

  /// True for the first who asks: libc is to be told whom to call at a fork.
  bool begin_to_see_forks() noexcept { return !sees_forks_.exchange(true); }
  /// libc's fork calls these. A child made without it is noticed at its first call here. (fork.cpp)
  void before_fork() noexcept;
  void after_fork_in_parent() noexcept;
  void after_fork_in_child() noexcept;

 private:
  registry() = default;

  /// First of all: the process may be a child that has a copy of this memory.
  void settle() noexcept {
    if (os::was_copied()) settle_copy();
  }
  void settle_copy() noexcept;
  void forget_other_threads(int before) noexcept;

  errc prepare(std::span<request> requests, std::span<waiting> later, const symbols::snapshot& known,
               const guard_hooks& hooks, std::string& detail, bool& elsewhere);
  void wait_for_modules(std::span<waiting> later) noexcept;
  [[nodiscard]] need which_will_do() const noexcept {
    return guards_.are_complete() ? need::any : need::jumps;
  }
  errc commit(const handles* only) noexcept;

  std::atomic<bool> sees_forks_{false};
  fork_lock lookups_;  // never held together with the others but at fork
  fork_lock lock_;     // held for any change, never while waiting
  fork_lock stores_;
  struct {
    bool lookups, lock, stores;  // the forking thread held them before: see fork_lock
    bool text;                   // taken for the fork
    bool guest;                  // what forks is one, see hit/guest.hpp
    int thread;                  // that forks
  } fork_{};
  // The parts, all of them under lock_.
  epoch::retirement retired_;  // what removal, registration and the module watch have taken out of the tables
  site_planner planner_;
  module_watch modules_{text_, retired_};
  site_text text_{modules_, planner_.functions(), planner_.jumps()};
  removal removed_{text_, modules_, retired_};
  registration placing_{planner_, text_, removed_, modules_, retired_};
  pending_probes pending_;
  guards guards_{planner_, placing_, modules_,
                 loader_hooks{[]() noexcept { instance().modules_changed(); },
                              []() noexcept { instance().place_waiting(); }}};
};

}  // namespace libprobe::control
