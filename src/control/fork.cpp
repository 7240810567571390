// The registry around a fork: what is whole stays so in the child, and what other threads held there is given
// back.
//
// Words: the *forking thread* is the only one that the child has, under another number.
#include "control/registry.hpp"
#include "epoch/epoch.hpp"
#include "site/actions.hpp"
#include "site/guest_runs.hpp"
#include "site/text_owner.hpp"
#include "site/thread.hpp"

namespace libprobe::control {

namespace {

/// What lies on the stack of a thread that is gone will soon be something else. True: the attachment's user's
/// object does. `forking`: the number in the parent of the thread that is here as `me`; 0: not known.
bool has_lost_owner(site::attachment& a, int forking, int me) noexcept {
  if (a.on_stack_of == 0 || forking == 0) return false;
  if (a.on_stack_of != forking) return true;
  a.on_stack_of = me;
  return false;
}

}  // namespace

void registry::before_fork() noexcept {
  settle();
  fork_.lookups = lookups_.before_fork();
  fork_.lock = lock_.before_fork();
  fork_.stores = stores_.before_fork();
  fork_.guest = site::may_be_guest();
  site::end_guest_runs();
  // A hit may be writing text at this moment (src/hit/retreat.cpp), for which no lock is taken.
  fork_.thread = os::thread_id();
  fork_.text = !fork_.lock;
  while (fork_.text && !site::text_owner::take()) arch::cpu_relax();
}

void registry::after_fork_in_parent() noexcept {
  if (fork_.text) site::text_owner::give();
  stores_.after_fork_in_parent(fork_.stores);
  lock_.after_fork_in_parent(fork_.lock);
  lookups_.after_fork_in_parent(fork_.lookups);
}

void registry::after_fork_in_child() noexcept {
  os::settle();
  const int before = epoch::has_record() ? epoch::thread_number() : fork_.thread;
  epoch::after_fork_in_child();
  site::action_change::after_fork_in_child();
  stores_.after_fork_in_child(fork_.stores);  // what is forgotten is given back there
  forget_other_threads(before);
  if (fork_.text) site::text_owner::give();
  lock_.after_fork_in_child(fork_.lock);
  lookups_.after_fork_in_child(fork_.lookups);
}

/// Whoever held a lock, or was writing text, is not there to end it: such a child is sound only if nobody
/// was.
void registry::settle_copy() noexcept {
  fork_ = {};
  fork_.guest = site::may_be_guest();
  site::end_guest_runs();
  if ((site::text_version.load() & 1) != 0) site::text_owner::give();
  after_fork_in_child();
}

/// What they were in the middle of will not be finished. `before`: the calling thread's number in the parent.
void registry::forget_other_threads(int before) noexcept {
  // The numbers of threads are new ones.
  const int me = epoch::thread_number();
  site::forget_guests(fork_.guest);
  for (auto& call : site::used_calls()) {
    if (site::owner_of(call) == before) site::own(call, me);
  }
  // Replacements run in this thread only.
  const auto stop = [](site::attachment& a) { a.end_all_calls(); };
  const auto forget_owners = [&](const site::site& at) {
    for (auto* a = at.first.load(); a != nullptr; a = a->next.load()) {
      stop(*a);
      if (!has_lost_owner(*a, fork_.thread, me) || a->removed) continue;
      a->owner = nullptr;
      removed_.queue(*a);
    }
  };
  site::sites.for_each(forget_owners);
  for (const auto& one : modules_.gone()) forget_owners(*one.at);
  pending_.erase_if([&](site::attachment& a) {
    if (!has_lost_owner(a, fork_.thread, me)) return false;
    a.owner = nullptr;
    removed_.retire(a);
    return true;
  });
  // A commit that was waiting is gone; what it had taken out waits for the next. By whom it was being
  // removed, and in whose memory it lies, may be gone.
  removed_.for_each_retired([&stop](site::attachment& a) {
    stop(a);
    a.part(a);
  });
  for (auto* a : removed_.queued()) a->part(*a);
  for (const auto* run = site::self.replacement; run != nullptr; run = run->outer) run->what->begun.add(1);
  if (site::self.chosen != nullptr) site::self.chosen->begun.add(1);
}

}  // namespace libprobe::control
