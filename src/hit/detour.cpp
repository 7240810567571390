// Hits that come by a jump, on the program's own stack.
#include "epoch/epoch.hpp"
#include "hit/calls.hpp"
#include "hit/landing.hpp"
#include "hit/ordinary_run.hpp"
#include "hit/run.hpp"
#include "site/instances.hpp"
#include "site/thread.hpp"

namespace libprobe::hit {

namespace {

/// The detour goes on by itself unless the program is sent elsewhere, or its stack pointer was moved: then it
/// goes on at regs. An inner boundary of a window need not trap for that.
[[gnu::noinline]] int leave(registers& regs) noexcept {
  if (const auto copy = copy_at(regs.ip()); copy != 0) regs.set_ip(copy);
  return 1;
}
[[gnu::noinline]] int go_on_elsewhere(const site::site& at, registers& regs) noexcept {
  const auto body = at.first_copy != 0 ? at.first_copy : at.body.load(std::memory_order_relaxed);
  if (body == 0)
    return arch::emulate(at.plan, at.address, regs) ? leave(regs) : 0;  // planned anew, as a trap
  regs.set_ip(body);
  return 1;
}

int go_on(const site::site& at, registers& regs, std::uintptr_t sp) noexcept {
  return regs.sp() == sp ? 0 : go_on_elsewhere(at, regs);
}

/// The handlers of a hit. Non-zero: the program goes on at hit.regs.
[[gnu::noinline]] int run_hit(const site::site& at, site::hit& hit) noexcept {
  const auto sp = hit.regs.sp();
  const bool redirected = run_before(at, hit);
  if (wants_call(hit)) {
    run_call(at, hit, redirected);
    return 1;
  }
  if (redirected) return leave(hit.regs);
  // Behind a branch there is no code of ours.
  if (!at.wants_after() || site::self.busy() || !arch::is_branch(at.plan)) return go_on(at, hit.regs, sp);
  if (!arch::emulate(at.plan, at.address, hit.regs))
    return go_on(at, hit.regs, sp);  // faults in its copy, as it should
  run_after(at, hit.regs, hit.saved);
  return leave(hit.regs);
}

[[gnu::noinline]] int run_all(const site::site& at, registers& regs, arch::vector_use saved) noexcept {
  site::hit hit{regs, nullptr, saved, true};
  return run_hit(at, hit);
}

[[gnu::noinline]] int run_learning(const site::detour& from, registers& regs, arch::vector_use saved) {
  learn(from.address, regs);
  const open_hit section{regs};
  const site::site* at = from.at.load(std::memory_order_acquire);
  return at != nullptr ? run_all(*at, regs, saved) : 0;
}

/// With the displaced instruction, if the site is there still.
int go_on_behind_guard(const site::detour& from, registers& regs, std::uintptr_t sp) noexcept {
  const epoch::section section;
  const site::site* at = from.at.load(std::memory_order_acquire);
  return at != nullptr ? go_on(*at, regs, sp) : 0;
}

[[gnu::noinline]] int run_guarded(const site::detour& from, registers& regs, arch::vector_use saved) {
  const auto sp = regs.sp();
  if (run_guard(regs, saved)) return leave(regs);
  return go_on_behind_guard(from, regs, sp);
}

/// The most frequent kind of hit, with as little as it can do with: it is what a probe costs.
inline int run_only(const site::site& at, site::attachment& a, registers& regs,
                    arch::vector_use saved) noexcept {
  if (a.resting.load(std::memory_order_relaxed) || !a.vectors.within(saved)) return 0;
  if (site::self.busy()) {
    a.missed->fetch_add(1, std::memory_order_relaxed);
    return 0;
  }
  const auto sp = regs.sp();
  const in_handler guard;
  a.hits.add(1);
  const int moved = a.pre_handler(*static_cast<probe*>(a.owner), regs);
  return moved != 0 ? leave(regs) : go_on(at, regs, sp);
}

/// As frequent where calls are followed: one attachment, and nothing that longjmp has left. What its `before`
/// would do, and what libprobe_on_detour_follow() answers; `undone`: nothing was done.
constexpr int undone = -1;

/// The detour calls the function from its slot, for which it reads `follow`. From here to there a signal may
/// come in: its own calls put back what they find, see end_call().
inline void send_to_slot(const registers& regs, std::uintptr_t body,
                         const site::followed_call& call) noexcept {
  site::self.follow = arch::call_from_detour(regs, body, site::number_of(call));
  site::self.beginning = nullptr;  // from here on the stack tells of it: see abandon_passed()
}

inline int follow_only(const site::site& at, site::instance_pool& pool, registers& regs,
                       arch::vector_use saved, std::uintptr_t body) noexcept {
  if (pool.resting.load(std::memory_order_relaxed) || !pool.vectors.within(saved) || site::self.busy())
    return undone;
  const in_handler guard;
  const auto sp = regs.sp();
  const auto return_address = arch::return_address(regs);
  auto* const call = begin_quick_call(sp, return_address);
  if (call == nullptr) return undone;
  auto* const instance = pool.take();
  if (instance == nullptr) {
    site::self.beginning = nullptr;
    end_call(*call);
    return undone;
  }
  const auto number = site::number_of(*call);
  pool.hits.add(1);
  instance->state_.probe = static_cast<retprobe*>(pool.owner);
  instance->state_.return_address = reinterpret_cast<void*>(return_address);
  arch::set_return_vectors(number, pool.return_vectors);
  call->instances = instance;  // the handler may never return
  site::self.taken = nullptr;
  if (pool.entered != nullptr && pool.entered(*instance, regs) != 0) {
    call->instances = nullptr;
    pool.give(*instance);
    site::self.beginning = nullptr;
    end_call(*call);
    regs.set_ip(body);
    return 1;
  }
  if (regs.sp() != sp) {
    site::hit hit{regs, nullptr, saved, true};
    hit.call = call;
    run_call(at, hit, false);
    return 1;
  }
  regs.set_ip(at.address);
  send_to_slot(regs, body, *call);
  return 0;
}

/// run_ordinary() where a guard stands, which stays once it does.
[[gnu::noinline]] int run_ordinary_guarded(const site::detour& from, registers& regs, void* vectors,
                                           arch::vector_use saved) {
  learn(from.address, regs);
  const auto sp = regs.sp();
  bool (*stand_in)(registers&) = nullptr;
  {
    const open_run run{regs};
    const site::site* at = from.at.load(std::memory_order_acquire);
    if (at == nullptr) return 0;
    site::hit hit{regs, vectors, saved, true, true};
    if (at->only_learns) return run_hit(*at, hit);
    if (run_before_guard(*at, hit)) return leave(regs);
    stand_in = at->stand_in;
  }
  if (stand_in(regs)) return leave(regs);
  return go_on_behind_guard(from, regs, sp);
}

/// Handlers that can be left by an exception, at a function's entry.
[[gnu::noinline]] int run_ordinary(const site::detour& from, registers& regs, void* vectors,
                                   arch::vector_use saved) {
  {
    const open_run run{regs};
    const site::site* at = from.at.load(std::memory_order_acquire);
    if (at == nullptr) return 0;
    site::hit hit{regs, vectors, saved, true, true};
    if (at->stand_in == nullptr) return run_hit(*at, hit);
  }
  return run_ordinary_guarded(from, regs, vectors, saved);
}

}  // namespace

}  // namespace libprobe::hit

using namespace libprobe;

int libprobe_on_detour(registers* regs, void* about, void* vectors, std::uint32_t saved_bits) {
  const auto& from = *static_cast<const site::detour*>(about);
  const auto saved = arch::vector_use::of(saved_bits);
  if (saved.ordinary()) return hit::run_ordinary(from, *regs, vectors, saved);
  bool only_learns = false;
  {
    const hit::open_hit section{*regs};
    const site::site* at = from.at.load(std::memory_order_acquire);  // pairs with registry::publish()
    if (at == nullptr) return 0;  // removed: the displaced instruction alone
    if (auto* only = at->only.load(std::memory_order_acquire)) return hit::run_only(*at, *only, *regs, saved);
    if (at->stand_in == nullptr) return hit::run_all(*at, *regs, saved);
    regs->set_ip(at->address);
    only_learns = at->only_learns;
  }
  return only_learns ? hit::run_learning(from, *regs, saved) : hit::run_guarded(from, *regs, saved);
}

int libprobe_on_detour_follow(registers* regs, void* about, void* /*vectors*/, std::uint32_t saved_bits) {
  const auto& from = *static_cast<const site::detour*>(about);
  const hit::open_hit section{*regs};
  const site::site* at = from.at.load(std::memory_order_acquire);
  const auto body = (at != nullptr ? at->body : from.body).load(std::memory_order_relaxed);
  if (at == nullptr) {
    regs->set_ip(body);  // not before: unwinders find the instruction pointer there
    return 1;
  }
  const auto saved = arch::vector_use::of(saved_bits);
  if (auto* only = at->follower.load(std::memory_order_acquire)) {
    const int went = hit::follow_only(*at, *only, *regs, saved, body);
    if (went != hit::undone) return went;
  }
  site::hit hit{*regs, nullptr, saved, true};
  const bool redirected = hit::run_before(*at, hit);
  if (hit::begins_call(hit) && !redirected && hit.replacement == nullptr && regs->sp() == hit.call->sp &&
      !at->wants_after()) {
    hit::send_to_slot(*regs, body, *hit.call);
    return 0;
  }
  if (hit::wants_call(hit)) {
    hit::run_call(*at, hit, redirected);
  } else if (!redirected) {
    regs->set_ip(body);
  } else {
    return hit::leave(*regs);
  }
  return 1;
}

int libprobe_on_detour_replace(registers* regs, void* about, void* /*vectors*/, std::uint32_t saved_bits) {
  const auto& from = *static_cast<const site::detour*>(about);
  site::attachment* chosen = nullptr;
  {
    const hit::open_hit section{*regs};
    const site::site* at = from.at.load(std::memory_order_acquire);
    const auto body = (at != nullptr ? at->body : from.body).load(std::memory_order_relaxed);
    if (at == nullptr) {
      regs->set_ip(body);
      return 1;
    }
    site::hit hit{*regs, nullptr, arch::vector_use::of(saved_bits), true};
    const bool redirected = hit::run_before(*at, hit);
    const bool alone = hit.call == nullptr && !redirected;
    if (hit.replacement == nullptr || !alone || hit.replacement->replace_live == nullptr) {
      if (hit::wants_call(hit)) {
        hit::run_call(*at, hit, redirected);
      } else if (!redirected) {
        regs->set_ip(body);
      }
      return 1;
    }
    chosen = hit.replacement;
  }
  // It may take long, and is counted as running.
  site::replacement_run run{chosen, nullptr};
  hit::begin_run(run);
  chosen->replace_live(*chosen, *regs);
  hit::end_run(run);
  return 0;
}

int libprobe_on_detour_after(registers* regs, void* about, void* /*vectors*/, std::uint32_t saved_bits) {
  const auto& from = *static_cast<const site::detour*>(about);
  const hit::open_hit section{*regs};
  const site::site* at = from.at.load(std::memory_order_acquire);
  if (at == nullptr) return 0;
  const auto next = at->address + at->plan.length;
  regs->set_ip(next);
  const auto sp = regs->sp();
  hit::run_after(*at, *regs, arch::vector_use::of(saved_bits));
  return regs->ip() != next || regs->sp() != sp ? hit::leave(*regs) : 0;
}
