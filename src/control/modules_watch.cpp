// Modules that go take their sites with them.
#include <algorithm>
#include <array>
#include <new>

#include "control/loader_guard.hpp"
#include "control/registry.hpp"
#include "control/text_pass.hpp"
#include "control/traced.hpp"
#include "epoch/epoch.hpp"
#include "os/text.hpp"
#include "os/tracer.hpp"
#include "site/text_owner.hpp"
#include "site/thread.hpp"

namespace libprobe::control {

namespace {

bool has(const symbols::snapshot& now, const symbols::module* one) noexcept {
  return std::any_of(now.modules.begin(), now.modules.end(),
                     [one](const auto& known) { return known.get() == one; });
}

/// False: other bytes stand there. A module that was unloaded and loaded again in the same place looks like
/// one that stayed.
bool stands(const site::site& at) noexcept {
  if (at.now == site::text::original) return true;
  const bool jump = at.now == site::text::jump;
  std::array<std::uint8_t, arch::breakpoint_length> there{};
  // A debugger's breakpoint may stand on top of the jump.
  return os::read_memory(at.address, there) &&
         ((jump && std::equal(there.begin(), there.end(), at.jump->jump.begin())) ||
          ((!jump || os::is_traced()) && arch::is_breakpoint(there)));
}

}  // namespace

/// Each guard for itself: without one of them less is known, but all goes on.
void registry::watch_loader() {
  const auto which = traps_are_avoided() ? need::jumps : need::any;
  told_of_unloading_ = place_each(unloading_guards(), which);
  told_of_constructors_ = place_each(constructor_guards(), which);
}

/// Those that can be. False: none.
bool registry::place_each(std::vector<request> guards, need which) {
  if (guards.empty()) return false;
  std::string ignored;
  if (place(guards, ignored, which) == errc::ok) return true;
  if (guards.size() == 1) {
    if (guards[0].what != nullptr) guards[0].what->release(*guards[0].what);
    return false;
  }
  // Few are refused, as a rule: by halves. Those that were published for a moment wait for a commit.
  std::erase_if(guards, [](const request& g) { return g.what == nullptr; });
  const auto half = guards.begin() + static_cast<std::ptrdiff_t>(guards.size() / 2);
  std::vector<request> others(half, guards.end());
  guards.erase(half, guards.end());
  const bool any = place_each(std::move(guards), which);
  return place_each(std::move(others), which) || any;
}

void registry::modules_changed() noexcept {
  // libc has loaded something for libprobe itself: whatever went meanwhile is noticed by the next call.
  if (lock_.is_mine()) return;
  const site::quiet no_handlers;
  settle();
  const std::lock_guard guard{lock_};
  // Those that have come are of no interest until somebody wants probes there.
  if (symbols::current_counts().removed != modules_->counts.removed) look_at_modules();
}

/// What lay in modules that are no more is gone. False: no memory to find out. Under the lock; the loader's
/// own may be held by the caller's thread, but no other thread that has it waits for ours: see
/// symbols::lookup.
bool registry::look_at_modules() noexcept {
  if (modules_ != nullptr && modules_->counts == symbols::current_counts()) return true;
  try {
    const auto before = std::exchange(modules_, symbols::current_modules());
    if (before != nullptr && before->counts.removed != modules_->counts.removed) take_leave(*before);
    settle_strays();
    return true;
  } catch (const std::bad_alloc&) {
    told_of_unloading_ = false;  // once is enough not to have known each time
    return false;
  }
}

/// Of what lay in modules of `before` that are no more.
void registry::take_leave(const symbols::snapshot& before) noexcept {
  const site::text_owner mine;
  for (const auto& one : before.modules) {
    const bool stays = has(*modules_, one.get());
    if (stays && told_of_unloading_) continue;
    site::sites.for_each([&](site::site& at) {
      if (at.module == one.get() && (!stays || !stands(at))) take_leave(at, one);
    });
  }
}

/// Sites that lay in no module, and do now. Either they were placed in it before the loader listed it (or
/// while it came, went and came again), or the program's own code has been unmapped and the module has taken
/// its place.
void registry::settle_strays() noexcept {
  const site::text_owner mine;
  site::sites.for_each([this](site::site& at) {
    if (at.module != nullptr) return;
    const auto owner =
        std::find_if(modules_->modules.begin(), modules_->modules.end(),
                     [&at](const auto& one) { return one->segment_at(at.address) != nullptr; });
    if (owner == modules_->modules.end()) return;
    if (stands(at)) {
      at.module = owner->get();
    } else {
      take_leave(at, *owner);
    }
  });
}

/// Nothing is written any more, and nobody finds the site by its address: something else may lie there soon.
void registry::take_leave(site::site& at, const std::shared_ptr<const symbols::module>& with) noexcept {
  site::sites.erase(at.address);
  if (at.through != nullptr) at.through->at.store(nullptr, std::memory_order_release);
  if (at.jump != nullptr) jumps_.set_landings(at, false);
  if (at.yields) std::erase(yielding_, &at);
  at.yields = false;
  at.now = site::text::original;
  at.gone = true;
  if (at.first.load(std::memory_order_relaxed) != nullptr) {
    gone_.push_back({&at, with});  // room was reserved at registration
  } else {
    retired_.add(at);
  }
}

/// The object of a gone probe is registered again: what it was goes with the next commit.
void registry::replace_gone(const request& by) noexcept {
  auto* const known = static_cast<site::attachment*>(by.handle->load(std::memory_order_relaxed));
  if (known == nullptr || known == by.what || known->removed) return;
  queue(*known);
  ++replaced_;
}

/// A program whose libraries come and go need never commit: what it leaves behind is freed now and then, if
/// just then no thread is in a handler. Under the lock, and never waits.
void registry::tidy() noexcept {
  constexpr std::size_t patience = 64;
  if (replaced_ < patience) return;
  replaced_ = 0;  // whatever comes of it: what is not complete now is by the next time, or at a commit
  errc ignored = errc::ok;
  if (const auto covered = retire_queued(ignored); epoch::poll(covered)) retired_.free_complete();
}

/// Between the lookup and now a module has gone, and another one has taken its place.
bool registry::lead_elsewhere(std::span<const request> requests, const symbols::snapshot& known) const {
  return known.counts.removed != modules_->counts.removed &&
         std::any_of(requests.begin(), requests.end(),
                     [&](const request& r) { return known.find(r.address) != modules_->find(r.address); });
}

/// Writes text while no module can be unloaded. Sites of modules that have been are gone by then.
errc registry::write(std::span<site::site* const> sites, site::text wanted) {
  errc answer = errc::ok;
  while (!symbols::while_none_leaves(modules_->counts.removed,
                                     [&] { answer = write_text(sites, wanted, *this); })) {
    if (!look_at_modules()) return errc::out_of_memory;
  }
  return answer;
}

errc registry::restore(std::span<site::site* const> sites, site::text wanted) noexcept {
  errc answer = errc::ok;
  if (sites.empty()) return answer;
  while (!symbols::while_none_leaves(modules_->counts.removed,
                                     [&] { answer = restore_text(sites, wanted, *this); })) {
    if (!look_at_modules()) return errc::out_of_memory;
  }
  return answer;
}

}  // namespace libprobe::control
