// Registration: plan everything, then publish, then write text.
#include <fmt/format.h>
#include <sys/single_threaded.h>

#include <algorithm>
#include <utility>

#include "control/counter_store.hpp"
#include "control/engine.hpp"
#include "control/escape_guards.hpp"
#include "control/guards.hpp"
#include "control/presence.hpp"
#include "control/registry.hpp"
#include "control/text_pass.hpp"
#include "control/traced.hpp"
#include "epoch/epoch.hpp"
#include "os/masks.hpp"
#include "os/signals.hpp"
#include "os/tracer.hpp"
#include "site/thread.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

namespace {

using method = arch::displaced::method;

/// A detour that does one thing serves others that want the same, if it can do it for many.
bool serves(site::purpose detour, site::purpose wanted) noexcept {
  using enum site::purpose;
  return detour == any || (detour == follow && wanted == follow);
}

/// The site as it is cannot do what is asked for. (Branches are emulated in any case.)
bool must_replan(const site::site& at, const request& r) noexcept {
  const bool step = r.step && at.plan.how != method::step && !arch::is_branch(at.plan);
  const bool jump = at.jump != nullptr &&
                    (r.no_jump || !serves(at.detour_for, r.purpose) || (r.after && !at.after_by_detour));
  return step || (r.code && at.code == nullptr) || jump;
}

/// What the site's probes wanted until now, too.
void add_known_wants(const site::site& at, request& whole) noexcept {
  whole.step = whole.step || at.plan.how == method::step;
  whole.code = whole.code || at.code != nullptr;
  whole.after = whole.after || at.after_by_detour;
  whole.no_jump = whole.no_jump || (at.jump == nullptr && at.why_trap == nullptr);
  whole.purpose = at.detour_for == site::purpose::follow && whole.purpose == site::purpose::follow
                      ? whole.purpose
                      : site::purpose::any;
}

/// Its module has been unloaded.
bool is_gone(const site::attachment& a) noexcept {
  const site::site* const at = a.where;
  return at != nullptr && at->gone;
}

bool is_our_code(std::uintptr_t address) noexcept {
  return site::hop_pages.find(site::hop_page_of(address)) != nullptr || site::slot_at(address) != nullptr;
}

std::string why_not_probeable(std::uintptr_t address, errc why) {
  if (why == errc::unsupported_environment)
    return fmt::format("{:#x} lies in no module, and /proc/self/maps cannot be read", address);
  const auto here = symbols::describe(address);
  if (why == errc::unsupported_runtime)
    return fmt::format("{:#x} ({}) is Go's, or cannot be told from Go's: {}", address, here.symbol,
                       here.module);
  return fmt::format("{:#x} ({}): {}", address, here.module, make_error_code(why).message());
}

result<std::unique_ptr<site::site>> plan_site(const request& of, bool replaced, function_text& functions,
                                              slot_store& slots, std::string& detail) {
  const auto address = of.address;
  if (const auto why = symbols::probeable(address); why != errc::ok) {
    detail = why_not_probeable(address, why);
    return why;
  }
  const auto what = functions.instruction_at(address, of.pointed, detail);
  if (!what) return what.error();
  if (const auto target = arch::flow_of(*what, address).branch; target && is_our_code(*target)) {
    functions.forget();  // it may yet go
    detail =
        fmt::format("at {:#x} stands a jump of an earlier probe, which somebody else has put back", address);
    return errc::text_changed;
  }
  if (functions.is_covered(address)) {
    detail = fmt::format("at {:#x} ({}) stands a debugger's breakpoint; it may be set again afterwards",
                         address, symbols::describe(address).symbol);
    return errc::text_changed;
  }
  const auto plan = arch::plan(*what, address, of.step);
  if (!plan) {
    detail = fmt::format("the instruction at {:#x} cannot be displaced", address);
    return plan.error();
  }
  auto fresh = std::make_unique<site::site>();
  fresh->address = address;
  fresh->plan = *plan;
  if (of.code || plan->how != method::emulate) {
    const auto slot = slots.get(*plan, address);
    if (!slot) {
      detail = fmt::format("no code memory within reach of {:#x}", address);
      return slot.error();
    }
    fresh->code = slot->slot;
    if (replaced) {
      const auto original = slots.get_original(address, slot->code);
      if (!original) return original.error();
      fresh->original_by_trap = original->code;
    }
  }
  return fresh;
}

constexpr std::uintptr_t nearest = arch::longest_window;

/// Bit n: a site lies n bytes behind the address.
std::uint32_t taken_behind(std::uintptr_t address) noexcept {
  std::uint32_t taken = 0;
  if (!site::sites.may_have(address, address + nearest)) return taken;
  for (std::uintptr_t i = 1; i < nearest; ++i) {
    if (site::sites.find(address + i) != nullptr) taken |= 1U << i;
  }
  return taken;
}

bool covers(const site::site& at, std::uintptr_t address) noexcept {
  return at.jump != nullptr && address > at.address && address < at.address + at.jump->shape.window;
}

}  // namespace

errc registry::plan(std::span<request> requests, placement& placed, std::string& detail) {
  // Looked at by the caller, too, but since then another thread may have registered the same object.
  if (std::any_of(requests.begin(), requests.end(), [](const request& r) {
        const auto* known = static_cast<const site::attachment*>(r.handle->load(std::memory_order_acquire));
        return known != nullptr && known != r.what && !known->removed && !is_gone(*known);
      })) {
    return errc::already_registered;
  }
  functions_.look_again();
  jumps_.expect(requests.size());
  // What follows takes those of one address together, and looks for neighbours behind it.
  std::stable_sort(requests.begin(), requests.end(),
                   [](const request& a, const request& b) { return a.address < b.address; });
  for (std::size_t i = 0; i < requests.size();) {
    request whole = requests[i];
    auto last = i;
    for (; last < requests.size() && requests[last].address == whole.address; ++last) {
      whole.step = whole.step || requests[last].step;
      whole.code = whole.code || requests[last].code;
      whole.entry = whole.entry || requests[last].entry;
      whole.pointed = whole.pointed || requests[last].pointed;
      whole.follow = whole.follow || requests[last].follow;
      whole.after = whole.after || requests[last].after;
      whole.no_jump = whole.no_jump || requests[last].no_jump;
      if (last != i && !serves(whole.purpose, requests[last].purpose)) whole.purpose = site::purpose::any;
    }
    if (whole.entry && !functions_.is_entry(whole.address, whole.pointed)) {
      detail = fmt::format("{:#x} is not a function's first instruction", whole.address);
      return errc::not_function_entry;
    }
    if (const char* why = whole.follow ? symbols::why_unfollowable(whole.address) : nullptr; why != nullptr) {
      detail = fmt::format("{:#x} ({}): {}", whole.address, symbols::describe(whole.address).symbol, why);
      return errc::unfollowable_function;
    }
    site::site* known = site::sites.find(whole.address);
    const bool any_vectors =
        std::any_of(requests.begin() + static_cast<std::ptrdiff_t>(i),
                    requests.begin() + static_cast<std::ptrdiff_t>(last), [](const request& r) {
                      return r.what->vectors.most() == arch::vector_use::every_file ||
                             r.what->return_vectors.most() == arch::vector_use::every_file;
                    });
    const bool replaced = (known != nullptr && known->original_by_trap != 0) ||
                          std::any_of(requests.begin() + static_cast<std::ptrdiff_t>(i),
                                      requests.begin() + static_cast<std::ptrdiff_t>(last),
                                      [](const request& r) { return r.what->replace != nullptr; });
    const bool keeps_more_than_vectors = any_vectors && functions_.keeps_more_than_vectors(whole.address);
    if (known != nullptr && keeps_more_than_vectors) known->keeps_more_than_vectors = true;
    if (known == nullptr || must_replan(*known, whole) || (replaced && known->original_by_trap == 0)) {
      if (known != nullptr) add_known_wants(*known, whole);
      auto made = plan_site(whole, replaced, functions_, slots_, detail);
      if (!made) return made.error();
      (*made)->stand_in = known != nullptr ? known->stand_in : whole.stand_in;
      (*made)->keeps_more_than_vectors =
          keeps_more_than_vectors || (known != nullptr && known->keeps_more_than_vectors);
      (*made)->module = modules_->find(whole.address);
      if (whole.after) whole.purpose = site::purpose::any;
      const bool at_entry = whole.purpose == site::purpose::count && functions_.is_only_called(whole.address);
      const wants of{{whole.purpose, whole.after, at_entry, replaced},
                     whole.no_jump || whole.step || !jumps_are_wanted()};
      if (!placed.trial) plan_jump(**made, of, requests.subspan(last), placed);
      placed.fresh.push_back(std::move(*made));
    }
    i = last;
  }
  add_old_jumps(placed);
  // Nothing after this may run out of memory.
  const auto room = attached_ + waiting_.size() + requests.size();
  yielding_.reserve(yielding_.size() + placed.yielding.size());
  queue_.reserve(room);
  touched_.reserve(room);
  gone_.reserve(room);
  site::sites.reserve(placed.fresh.size());
  return errc::ok;
}

namespace {

bool has_copies(const site::site& at) noexcept { return at.jump != nullptr && !at.yields; }
std::uintptr_t original_of(const site::site& at) noexcept {
  return has_copies(at) ? at.original_by_jump : at.original_by_trap;
}

}  // namespace

/// The displaced instruction and on: behind a jump the copies of all that it covers.
void registry::set_body(site::site& at) noexcept {
  const auto body = has_copies(at) ? at.first_copy : at.code != nullptr ? at.code->jump_part() : 0;
  at.body.store(body, std::memory_order_release);
  const auto original = original_of(at);
  for (auto* a = at.first.load(std::memory_order_relaxed); a != nullptr;
       a = a->next.load(std::memory_order_relaxed)) {
    if (a->book != nullptr)
      a->book->body.store(original, std::memory_order_release);  // pairs with original_of()
  }
}

void registry::plan_jump(site::site& at, const wants& of, std::span<const request> behind,
                         placement& placed) {
  const bool any_before = site::sites.may_have(at.address - nearest, at.address);
  for (std::uintptr_t back = 1; any_before && back < nearest; ++back) {
    site::site* before = site::sites.find(at.address - back);
    if (before != nullptr && !before->yields && covers(*before, at.address))
      placed.yielding.push_back(before);
  }
  if (of.no_jump) return;
  auto taken = taken_behind(at.address);
  for (const auto& r : behind) {
    if (r.address >= at.address + nearest) break;
    taken |= 1U << (r.address - at.address);
  }
  jumps_.plan(at, taken, of);
}

/// Those that are planned anew, too: their jumps may change.
void registry::add_old_jumps(placement& placed) {
  for (const auto& made : placed.fresh) {
    site::site* old = site::sites.find(made->address);
    if (old != nullptr && old->jump != nullptr) placed.yielding.push_back(old);
  }
  std::sort(placed.yielding.begin(), placed.yielding.end(),
            [](const site::site* a, const site::site* b) { return a->address < b->address; });
  placed.yielding.erase(std::unique(placed.yielding.begin(), placed.yielding.end()), placed.yielding.end());
}

namespace {

/// Of text that could not be written.
const char* refusal(errc why) noexcept {
  if (why == errc::text_changed) return "the text to be patched is not what was decoded";
  return why == errc::out_of_memory ? "no memory to write the program's text"
                                    : "the kernel refuses to write the program's text";
}

/// Of sites in order of address.
const site::site* fresh_at(std::span<const std::unique_ptr<site::site>> sites,
                           std::uintptr_t address) noexcept {
  const auto found = std::lower_bound(sites.begin(), sites.end(), address,
                                      [](const auto& s, std::uintptr_t a) { return s->address < a; });
  return found != sites.end() && (*found)->address == address ? found->get() : nullptr;
}

}  // namespace

/// Jumps whose bytes others need become breakpoints first.
errc registry::make_way(placement& placed, std::string& detail) {
  std::vector<site::site*> armed;
  // Under a debugger not one that is planned anew: it is exchanged for the new jump.
  const auto is_exchanged = [&placed](const site::site* at) {
    return at->now == site::text::jump && os::is_traced() && fresh_at(placed.fresh, at->address) != nullptr &&
           fresh_at(placed.fresh, at->address)->jump != nullptr;
  };
  std::copy_if(placed.yielding.begin(), placed.yielding.end(), std::back_inserter(armed),
               [&](const site::site* at) { return at->now > site::text::breakpoint && !is_exchanged(at); });
  const auto why = write(armed, site::text::breakpoint);
  if (why != errc::ok) {
    detail = refusal(why);
    return why;
  }
  for (auto* at : placed.yielding) {
    if (at->gone) continue;
    at->yields = true;
    set_body(*at);
    yielding_.push_back(at);
  }
  return errc::ok;
}

namespace {

/// Has the site's detour save what attachments may touch, in one store: hits read it meanwhile.
void save_for(const site::site& at, arch::vector_use wanted) noexcept {
  if (at.detour_for == site::purpose::replace) {
    wanted.add(arch::vector_use{arch::vector_use::nothing, false, true});
  } else if (at.keeps_more_than_vectors) {
    wanted.add(arch::vector_use{arch::vector_use::everything});
  }
  at.through->vectors.store(wanted.bits(), std::memory_order_relaxed);
}

}  // namespace

void registry::publish(std::span<request> requests, std::span<std::unique_ptr<site::site>> fresh) noexcept {
  for (auto& made : fresh) {
    site::site* const old = site::sites.find(made->address);
    if (old != nullptr) {
      // The same place, planned anew. Readers of either see the same list; the old one goes with the next
      // grace period.
      made->first.store(old->first.load(std::memory_order_relaxed), std::memory_order_relaxed);
      made->last = old->last;
      made->now = old->now.load();
      if (made->now == site::text::jump) made->jump->replace(*old->jump);
      if (made->through == nullptr)
        made->through = old->through;  // who is on the way through it finds the new one
      std::erase(yielding_, old);
      for (auto* a = made->first.load(); a != nullptr; a = a->next.load()) a->where = made.get();
    }
    site::site* now = made.release();
    site::sites.insert(now->address, now);
    if (old != nullptr) retired_.add(*old);
    if (now->through == nullptr) continue;
    now->through->body.store(now->detour_body, std::memory_order_relaxed);
    arch::vector_use wanted;
    for (auto* a = now->first.load(); a != nullptr; a = a->next.load()) wanted.add(a->vectors);
    save_for(*now, wanted);
    now->through->at.store(now, std::memory_order_release);  // pairs with libprobe_on_detour()
  }
  for (auto& r : requests) {
    site::site* at = site::sites.find(r.address);
    r.what->where = at;
    r.what->was_at = r.address;
    r.what->handle = r.handle;
    if (at->keeps_more_than_vectors && r.what->return_vectors.most() == arch::vector_use::every_file)
      r.what->return_vectors = arch::vector_use{arch::vector_use::everything};
    if (at->detour_for == site::purpose::count) r.what->count_in(at->through->column);
    if (at->through != nullptr) {  // before the hooks can be found
      auto wanted = arch::vector_use::of(at->through->vectors.load(std::memory_order_relaxed));
      wanted.add(r.what->vectors);
      save_for(*at, wanted);
    }
    auto& link = at->last != nullptr ? at->last->next : at->first;
    replace_gone(r);
    if (r.what->book != nullptr) r.what->book->body.store(original_of(*at), std::memory_order_relaxed);
    show(r);  // before a handler can look
    link.store(r.what,
               std::memory_order_release);  // pairs with the acquire loads of run_before() and its like
    at->last = r.what;
    ++attached_;
    set_body(*at);
    set_only(*at);
  }
}

/// The user's object shows this registration.
void registry::show(request& r) noexcept {
  if (r.ledger != nullptr) {
    r.placed_before = r.placed_at->exchange(r.address, std::memory_order_relaxed);
    auto* const mine = r.what->book.get();
    auto* const before = static_cast<site::ledger*>(r.ledger->exchange(mine, std::memory_order_acq_rel));
    r.ledger_before = before != mine ? before : nullptr;
  }
  r.handle->store(r.what, std::memory_order_release);
}

/// And what it showed before, but for the handle: as long as that is set, the object waits for a commit.
void registry::show_as_before(const request& r) noexcept {
  if (r.ledger == nullptr) return;
  r.placed_at->store(r.placed_before, std::memory_order_relaxed);
  r.ledger->store(r.ledger_before, std::memory_order_release);
}

/// That of an attachment which still waits goes with it.
void registry::give_ledger_before(const request& r) noexcept {
  auto* const before = r.ledger_before;
  if (before != nullptr && before->last.load(std::memory_order_relaxed) != site::ledger::open)
    give_ledger(before);
}

errc registry::arm_sites(std::span<request> requests, std::string& detail) {
  std::vector<site::site*> sites;
  sites.reserve(requests.size());
  for (const auto& r : requests) {
    site::site* at = r.what->where;
    if (!r.what->disabled && (sites.empty() || sites.back() != at)) sites.push_back(at);
  }
  const auto why = write(sites, site::text::jump);
  if (why == errc::ok) return why;
  functions_.forget();
  detail = refusal(why);
  return why;
}

namespace {

/// A breakpoint kills where SIGTRAP is blocked. False if it still is, in a thread that is remembered.
bool unblock_trap() {
  std::uint64_t before = 0;
  os::change_mask(SIG_UNBLOCK, os::signal_bit(SIGTRAP), &before);
  auto& blocked = site::self.trap_blocked;
  blocked = blocked || (before & os::signal_bit(SIGTRAP)) != 0;
  set_deaf_thread(os::unblock_in_other_threads(
      SIGTRAP,
      static_cast<std::ptrdiff_t>(reinterpret_cast<std::uintptr_t>(&blocked) - arch::thread_base())));
  return deaf_thread() == 0;
}

std::string why_blocked() {
  return fmt::format("{} has SIGTRAP blocked, and {} that be changed", os::describe_thread(deaf_thread()),
                     os::is_traced() ? "a debugger does not let" : "the kernel does not let");
}

/// Of guards that were not placed.
void release(std::span<const request> guards) noexcept {
  for (const auto& g : guards) {
    if (g.what != nullptr) g.what->release(*g.what);
  }
}
/// What is still missing of guards that were tried, made anew.
std::vector<request> not_placed(std::span<const request> tried) {
  std::vector<request> made;
  made.reserve(tried.size());
  for (const auto& g : tried) {
    const auto* const at = site::sites.find(g.address);
    if (at == nullptr || at->stand_in == nullptr) made.push_back(guard_at(g.address, g.stand_in));
  }
  return made;
}

}  // namespace

/// Takes from guards those whose jumps would displace several instructions.
std::vector<request> registry::take_wide(std::vector<request>& guards) {
  placement tried;
  std::string ignored;
  plan(guards, tried, ignored);
  const auto wide = std::stable_partition(guards.begin(), guards.end(), [&tried](const request& g) {
    const auto* const at = fresh_at(tried.fresh, g.address);
    return at == nullptr || at->jump == nullptr || at->jump->shape.members == 1;
  });
  std::vector<request> taken(wide, guards.end());
  guards.erase(wide, guards.end());
  slots_.drop();
  jumps_.hops().drop();
  return taken;
}

/// Before the first probe, and only when that can be placed: so a refused one leaves no guards behind.
errc registry::put_guards(std::span<request> requests, std::string& detail) {
  placement trial;
  trial.trial = true;
  auto why = plan(requests, trial, detail);
  slots_.drop();
  if (why != errc::ok) return why;
  // A debugger and a sandbox keep others from changing threads' masks: as long as all probes are jumps, none
  // need be.
  const bool unblocked = unblock_trap();
  const bool avoided = traps_are_avoided();
  if (!unblocked && !avoided) {
    detail = why_blocked();
    return errc::trap_blocked;
  }
  if (!guards_stand_) {
    auto guards = guard_requests();
    if (avoided) {
      guards_stand_ = place_each(std::move(guards), need::jumps);
    } else {
      // Until they stand a thread may block SIGTRAP at any moment, as it does when it makes another one; then
      // it must not meet a breakpoint on the way to a guard's jump. Those that can only be breakpoints come
      // last.
      if (jumps_are_wanted() && __libc_single_threaded == 0) {
        const quiet_writes no_breakpoints;
        // And those first that have no inner boundary, where a thread that comes back from the kernel may be.
        const auto wanted = guards;
        auto others = take_wide(guards);
        place_each(std::move(guards), need::jumps);
        unblock_trap();
        place_each(std::move(others), need::jumps);
        unblock_trap();
        guards = not_placed(wanted);
      }
      why = guards.empty() ? errc::ok : place(guards, detail);
      guards_stand_ = why == errc::ok;
      if (!guards_stand_) release(guards);
    }
    if (!guards_stand_) return why;
    watch_loader();
    place_each(escape_guards(), avoided ? need::jumps : need::any);
  }
  // From now on nobody can block it. Who has done so just before they were in place is let off again.
  guarded_ = unblock_trap();
  if (guarded_ || traps_are_avoided()) return errc::ok;
  detail = why_blocked();
  return errc::trap_blocked;
}

/// As planned, nothing of all this traps.
errc registry::all_are_jumps(std::span<const request> requests, const placement& placed,
                             std::string& detail) const {
  const auto is_jump = [&placed](std::uintptr_t address) {
    const site::site* const made = fresh_at(placed.fresh, address);
    const site::site* const at = made != nullptr ? made : site::sites.find(address);
    return at->jump != nullptr && !at->yields && !at->retreated;
  };
  const auto trap = std::find_if_not(requests.begin(), requests.end(),
                                     [&](const request& r) { return is_jump(r.address); });
  const bool gives_way = std::any_of(
      placed.yielding.begin(), placed.yielding.end(),
      [&](const site::site* at) { return !is_jump(at->address) || taken_behind(at->address) != 0; });
  if (trap == requests.end() && !gives_way) return errc::ok;
  detail = fmt::format("{}, and {:#x} can only be a breakpoint", why_blocked(),
                       trap != requests.end() ? trap->address : placed.yielding.front()->address);
  return errc::trap_blocked;
}

/// On failure the requests' attachments are the caller's again; or they are null, and wait for a commit.
errc registry::place(std::span<request> requests, std::string& detail, need which) {
  placement placed;
  errc why = errc::ok;
  const auto planned_in = modules_;
  try {
    why = plan(requests, placed, detail);
    if (why == errc::ok && which == need::jumps) why = all_are_jumps(requests, placed, detail);
    if (why == errc::ok) why = slots_.write();
    if (why == errc::ok) why = jumps_.hops().write();
    if (why == errc::ok) why = make_way(placed, detail);
    if (why == errc::ok && lead_elsewhere(requests, *planned_in)) {
      detail = "its module has been unloaded just now";
      why = errc::not_executable;
    }
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why != errc::ok) {
    slots_.drop();
    jumps_.hops().drop();
    return why;
  }
  publish(requests, placed.fresh);
  try {
    why = arm_sites(requests, detail);
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why == errc::ok) {
    for (const auto& r : requests) give_ledger_before(r);
    return why;
  }
  // They were in the table, and at a place that was armed already their handlers may be running.
  for (auto& r : requests) {
    if (r.waits) continue;  // its owner is not here to be told: see place_found()
    show_as_before(r);
    queue(*r.what);
    r.what = nullptr;
  }
  return why;
}

std::optional<errc> registry::attach(std::span<request> requests, std::span<waiting> later,
                                     const symbols::snapshot& known, std::string& detail) {
  const site::quiet no_handlers;
  errc why = errc::ok;
  bool queued = false;
  {
    const std::lock_guard guard{lock_};
    try {
      why = prepare_engine(detail);
      if (why == errc::ok && !look_at_modules()) why = errc::out_of_memory;
      if (why == errc::ok && lead_elsewhere(requests, known)) return std::nullopt;
      if (why == errc::ok) {
        waiting_.reserve(waiting_.size() + later.size());
      }
      if (why == errc::ok && !guarded_) why = put_guards(requests, detail);
      if (why == errc::ok && !later.empty() && !told_of_constructors_) {
        detail = "this system's loader does not tell when it has loaded a module";
        why = errc::module_not_found;
      }
    } catch (const std::bad_alloc&) {
      why = errc::out_of_memory;
    }
    if (why == errc::ok) why = place(requests, detail, guarded_ ? need::any : need::jumps);
    if (why == errc::ok) {
      const auto traps = std::count_if(requests.begin(), requests.end(), [](const request& r) {
        return r.what->where.load()->now == site::text::breakpoint;
      });
      tell_of_breakpoints(static_cast<std::size_t>(traps), requests.size());
    }
    // Found in a module that came after `known`, and has gone since.
    const bool untouched =
        std::none_of(requests.begin(), requests.end(), [](const request& r) { return r.what == nullptr; });
    if (why == errc::not_executable && untouched && look_at_modules() &&
        modules_->counts.removed != known.counts.removed)
      return std::nullopt;
    if (why == errc::ok) wait_for_modules(later);
    tidy();
    queued = why != errc::ok && !queue_.empty();
  }
  stay_loaded();
  if (queued) commit();  // frees what was placed for a moment
  return why;
}

}  // namespace libprobe::control
