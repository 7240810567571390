// Registration, removal and commit: the only writer of sites and of text.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/fork_lock.hpp"
#include "control/function_text.hpp"
#include "control/jump_planner.hpp"
#include "control/slot_store.hpp"
#include "control/text_pass.hpp"
#include "epoch/retirement.hpp"
#include "os/process.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

/// One probe that wants to be placed.
struct request {
  site::attachment* what = nullptr;
  // In the user's object, each set when it is placed, or begins to wait; the last two are null for a guard.
  std::atomic<void*>* handle = nullptr;
  std::atomic<void*>* ledger = nullptr;
  std::atomic<std::uintptr_t>* placed_at = nullptr;
  std::uintptr_t address = 0;
  bool step = false;     // by the trap flag
  bool code = false;     // the displaced instruction must be able to run in a slot
  bool entry = false;    // only at a function's first instruction
  bool pointed = false;  // the user's function pointer leads there
  bool follow = false;   // its return address will be changed, or somebody in between calls it
  bool after = false;    // some of its hooks run behind the displaced instruction
  bool no_jump = false;
  site::purpose purpose = site::purpose::any;  // what a detour of its own would do
  bool (*stand_in)(registers&) = nullptr;      // see site::stand_in; for guards
  bool waits = false;                          // for its module: its user's object shows it already
  // What that showed before: for a registration that fails, and for one that does not, to be given back.
  site::ledger* ledger_before = nullptr;
  std::uintptr_t placed_before = 0;
};

/// One whose module or symbol is not there yet.
struct waiting {
  request need;
  std::string name;          // where it goes
  std::string why;           // it could not be placed until now
  std::uint64_t number = 0;  // unique
};

/// What list_probes() shows, gathered under the lock.
struct entry {
  std::uintptr_t address;
  char kind;
  bool disabled;
  arch::displaced::method how;
  bool jump;  // it stands there now
  arch::tactic tactic;
  const char* why_trap;  // null where there is a jump, or where a breakpoint was asked for
  std::uint64_t hits, missed;
  std::shared_ptr<const symbols::module> gone_with;  // null: it is there
  std::string waits_for, why_not_placed;             // of one that waits
};

/// One per process, never destroyed. All members: any thread, also from inside handlers where not said
/// otherwise. None of them holds its lock while waiting for a grace period, so a handler never waits for one
/// by them.
class registry : private window_observer {
 public:
  static registry& instance() noexcept;

  /// All or nothing. On success the attachments are the registry's, those that wait too. On failure they are
  /// the caller's again, or (when handlers may have been running already) have been released. Nothing, and
  /// nothing has changed: an address, which was found in the modules `known`, lies in another one by now.
  std::optional<errc> attach(std::span<request> requests, std::span<waiting> later,
                             const symbols::snapshot& known, std::string& detail);

  using handles = std::span<std::atomic<void*>* const>;
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
    const auto* a = static_cast<const site::attachment*>(handle.load(std::memory_order_acquire));
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
    slots_.set_idle_bound(slots);
  }
  std::size_t code_chunks() noexcept {
    const std::lock_guard guard{lock_};
    return slots_.chunks();
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
  /// libc's fork calls these. A child made without it is noticed at its first call here.
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

  /// A registration's sites: new ones (or known ones planned anew), and those whose jump is in the way.
  struct placement {
    std::vector<std::unique_ptr<site::site>> fresh;
    std::vector<site::site*> yielding;
    bool trial = false;  // only to see whether all can be placed, which no jump decides
  };
  struct wants : jump_planner::wants {
    bool no_jump = false;
  };
  errc plan(std::span<request> requests, placement& placed, std::string& detail);
  void plan_jump(site::site& at, const wants& of, std::span<const request> behind, placement& placed);
  static void add_old_jumps(placement& placed);
  errc all_are_jumps(std::span<const request> requests, const placement& placed, std::string& detail) const;
  errc put_guards(std::span<request> requests, std::string& detail);
  std::vector<request> take_wide(std::vector<request>& guards);
  void watch_loader();
  enum class need : std::uint8_t { any, jumps };  // refused where it would be a breakpoint
  errc place(std::span<request> requests, std::string& detail, need which = need::any);
  bool place_each(std::vector<request> guards, need which);
  static void set_body(site::site& at) noexcept;
  static void set_only(site::site& at) noexcept;
  errc make_way(placement& placed, std::string& detail);
  void publish(std::span<request> requests, std::span<std::unique_ptr<site::site>> fresh) noexcept;
  errc arm_sites(std::span<request> requests, std::string& detail);
  void queue(site::attachment& a) noexcept;
  void replace_gone(const request& by) noexcept;
  bool look_at_modules() noexcept;
  void take_leave(const symbols::snapshot& before) noexcept;
  void settle_strays() noexcept;
  void take_leave(site::site& at, const std::shared_ptr<const symbols::module>& with) noexcept;
  bool lead_elsewhere(std::span<const request> requests, const symbols::snapshot& known) const;
  void wait_for_modules(std::span<waiting> later) noexcept;
  void stop_waiting(site::attachment& a) noexcept;
  void place_found(std::span<request> found) noexcept;
  void arm_alone(site::attachment& a) noexcept;
  errc write(std::span<site::site* const> sites, site::text wanted);
  errc restore(std::span<site::site* const> sites, site::text wanted) noexcept;
  void return_to_jumps() noexcept;
  void window_closes(const site::site& at) noexcept override { jumps_.set_landings(at, true); }
  void window_is_open(const site::site& at) noexcept override { jumps_.set_landings(at, false); }
  void text_is_others() noexcept override { functions_.forget(); }
  errc take_out_queued() noexcept;
  epoch::ticket retire_queued(errc& answer) noexcept;
  void retire(site::attachment& a) noexcept;
  static void free_attachment(epoch::retired& what) noexcept;
  /// Attachments that wait for the end of their grace period, or of calls.
  template <class F>
  void for_each_retired(F&& visit) {
    retired_.for_each([&visit](epoch::retired& what) {
      if (what.free == free_attachment) visit(static_cast<site::attachment&>(what));
    });
    for (auto* one = in_use_; one != nullptr; one = one->next_retired)
      visit(static_cast<site::attachment&>(*one));
  }
  static void show(request& r) noexcept;
  static void show_as_before(const request& r) noexcept;
  static void give_ledger_before(const request& r) noexcept;
  void tidy() noexcept;
  void forget_owner(site::attachment& a, int me) noexcept;
  errc commit(const handles* only) noexcept;
  const site::attachment* free_in_use(const handles* only) noexcept;
  void reclaim_code() noexcept;

  std::atomic<bool> sees_forks_{false};
  bool guards_stand_ = false;
  bool told_of_unloading_ = false;     // by the loader, each time
  bool told_of_constructors_ = false;  // before they run
  bool guarded_ = false;               // and no thread has SIGTRAP blocked
  fork_lock lookups_;                  // never held together with the others but at fork
  fork_lock lock_;                     // held for any change, never while waiting
  fork_lock stores_;
  struct {
    bool lookups, lock, stores;  // the forking thread held them before: see fork_lock
    bool text;                   // taken for the fork
    bool guest;                  // what forks is one, see hit/guest.hpp
    int thread;                  // that forks
  } fork_{};
  function_text functions_;
  slot_store slots_;
  jump_planner jumps_{functions_, slots_};
  std::vector<site::site*> yielding_;  // they may have their jumps back when others are gone
  // Removal must not be able to fail, so room in all of these is reserved at registration.
  std::vector<site::attachment*> queue_;  // resting, still linked
  std::vector<site::site*> touched_;      // scratch of a commit
  epoch::retirement retired_;         // unlinked attachments, sites and tables, until no hit can hold them
  epoch::retired* in_use_ = nullptr;  // attachments, after that: calls are still inside
  struct departed {
    site::site* at;
    std::shared_ptr<const symbols::module> with;
  };
  std::vector<departed> gone_;  // in no table any more, but not all of their attachments are removed
  std::shared_ptr<const symbols::snapshot> modules_;  // in which sites lie
  std::size_t replaced_ = 0;  // gone probes that were registered anew, since they were last tidied up
  std::vector<waiting> waiting_;
  std::uint64_t next_number_ = 1;
  std::size_t attached_ = 0;  // linked
};

}  // namespace libprobe::control
