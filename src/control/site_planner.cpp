#include "control/site_planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <unordered_set>
#include <utility>

#include "control/engine.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

namespace {

using method = arch::displaced::method;

/// Its module has been unloaded.
bool is_gone(const site::attachment& a) noexcept {
  const site::site* const at = a.where;
  return at != nullptr && at->gone;
}

/// Looked at by the api, too, but since then another thread may have registered the same object.
bool is_registered(const request& r) noexcept {
  const auto* const known = attachment_of(*r.handle);
  return known != nullptr && known != r.what && !known->removed && !is_gone(*known);
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

bool uses_every_vector_file(const request& r) noexcept {
  return r.what->vectors.is_vectors() || r.what->return_vectors.is_vectors();
}

}  // namespace

const site::site* placement::fresh_at(std::uintptr_t address) const noexcept {
  const auto found = std::lower_bound(fresh.begin(), fresh.end(), address,
                                      [](const auto& s, std::uintptr_t a) { return s->address < a; });
  return found != fresh.end() && (*found)->address == address ? found->get() : nullptr;
}

errc site_planner::lay_out(std::span<request> requests, const symbols::snapshot& modules, placement& made,
                           std::string& detail) {
  return lay_out(requests, modules, made, extent::whole, detail);
}

errc site_planner::check(std::span<request> requests, const symbols::snapshot& modules, std::string& detail) {
  placement ignored;
  const auto why = lay_out(requests, modules, ignored, extent::without_jumps, detail);
  drop();
  return why;
}

errc site_planner::lay_out(std::span<request> requests, const symbols::snapshot& modules, placement& made,
                           extent much, std::string& detail) {
  if (std::any_of(requests.begin(), requests.end(), is_registered)) return errc::already_registered;
  functions_.look_again();
  jumps_.expect(requests.size());
  // What follows takes those of one address together, and looks for neighbours behind it.
  std::stable_sort(requests.begin(), requests.end(),
                   [](const request& a, const request& b) { return a.address < b.address; });
  while (!requests.empty()) {
    request whole = requests.front();
    const auto last = std::find_if(requests.begin(), requests.end(),
                                   [&whole](const request& r) { return r.address != whole.address; });
    const auto here = requests.first(static_cast<std::size_t>(last - requests.begin()));
    requests = requests.subspan(here.size());
    for (const auto& r : here.subspan(1)) whole.add(r);
    whole.replaced =
        std::any_of(here.begin(), here.end(), [](const request& r) { return r.what->replace != nullptr; });
    if (const auto why = check_function(whole, whole.address, detail); why != errc::ok) return why;
    const bool keeps_more_than_vectors = std::any_of(here.begin(), here.end(), uses_every_vector_file) &&
                                         functions_.keeps_more_than_vectors(whole.address);
    site::site* const known = site::sites.find(whole.address);
    if (known != nullptr && keeps_more_than_vectors) known->keeps_more_than_vectors = true;
    const bool guarded = known != nullptr && known->stand_in != nullptr;
    if (known != nullptr && whole.met_by(*known) && (guarded || whole.stand_in == nullptr)) continue;
    if (known != nullptr) whole.add_present(*known);
    auto fresh = make_site(whole, detail);
    if (!fresh) return fresh.error();
    (*fresh)->stand_in = guarded ? known->stand_in : whole.stand_in;
    (*fresh)->only_learns = guarded ? known->only_learns : whole.only_learns;
    (*fresh)->keeps_more_than_vectors =
        keeps_more_than_vectors || (known != nullptr && known->keeps_more_than_vectors);
    (*fresh)->module = modules.find(whole.address);
    if (whole.after) whole.purpose = site::purpose::any;
    if (much == extent::whole) give_jump(**fresh, whole, requests, made);
    made.fresh.push_back(std::move(*fresh));
  }
  add_old_jumps(made);
  return errc::ok;
}

/// What is asked of the function, not of its instruction.
errc site_planner::check_function(const specification& of, std::uintptr_t address, std::string& detail) {
  if (of.entry && !functions_.is_entry(address, of.pointed)) {
    detail = fmt::format("{:#x} is not a function's first instruction", address);
    return errc::not_function_entry;
  }
  const char* const why = of.follow ? symbols::why_unfollowable(address) : nullptr;
  if (why == nullptr) return errc::ok;
  detail = fmt::format("{:#x} ({}): {}", address, symbols::describe(address).symbol, why);
  return errc::unfollowable_function;
}

/// Without a jump.
result<std::unique_ptr<site::site>> site_planner::make_site(const request& of, std::string& detail) {
  const auto address = of.address;
  if (const auto why = symbols::probeable(address); why != errc::ok) {
    detail = why_not_probeable(address, why);
    return why;
  }
  const auto what = functions_.instruction_at(address, of.pointed, detail);
  if (!what) return what.error();
  if (const auto target = arch::flow_of(*what, address).branch; target && is_our_code(*target)) {
    functions_.forget();  // it may yet go
    detail =
        fmt::format("at {:#x} stands a jump of an earlier probe, which somebody else has put back", address);
    return errc::text_changed;
  }
  if (functions_.is_covered(address)) {
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
    const auto slot = slots_.get(*plan, address);
    if (!slot) {
      detail = fmt::format("no code memory within reach of {:#x}", address);
      return slot.error();
    }
    fresh->code = slot->slot;
    if (of.replaced) {
      const auto original = slots_.get_original(address, slot->code);
      if (!original) return original.error();
      fresh->original_by_trap = original->code;
    }
  }
  return fresh;
}

/// If it may have one and there is room. `behind`: requests at higher addresses. Earlier sites whose jump
/// covers this one have to yield in any case.
void site_planner::give_jump(site::site& at, const specification& of, std::span<const request> behind,
                             placement& made) {
  const bool any_before = site::sites.may_have(at.address - nearest, at.address);
  for (std::uintptr_t back = 1; any_before && back < nearest; ++back) {
    site::site* before = site::sites.find(at.address - back);
    if (before != nullptr && !before->yields && covers(*before, at.address)) made.yielding.push_back(before);
  }
  if (of.no_jump || of.step || !jumps_are_wanted()) return;
  auto taken = taken_behind(at.address);
  for (const auto& r : behind) {
    if (r.address >= at.address + nearest) break;
    taken |= 1U << (r.address - at.address);
  }
  jumps_.choose(at, taken, of);
}

/// Those that are planned anew, too: their jumps may change.
void site_planner::add_old_jumps(placement& made) {
  for (const auto& fresh : made.fresh) {
    site::site* old = site::sites.find(fresh->address);
    if (old != nullptr && old->jump != nullptr) made.yielding.push_back(old);
  }
  std::sort(made.yielding.begin(), made.yielding.end(),
            [](const site::site* a, const site::site* b) { return a->address < b->address; });
  made.yielding.erase(std::unique(made.yielding.begin(), made.yielding.end()), made.yielding.end());
}

bool site_planner::all_are_jumps(std::span<const request> requests, const placement& planned,
                                 std::uintptr_t& trap) noexcept {
  const auto is_jump = [&planned](std::uintptr_t address) {
    const site::site* const fresh = planned.fresh_at(address);
    const site::site* const at = fresh != nullptr ? fresh : site::sites.find(address);
    return at->jump != nullptr && !at->yields && !at->retreated;
  };
  const auto one = std::find_if_not(requests.begin(), requests.end(),
                                    [&](const request& r) { return is_jump(r.address); });
  const bool gives_way = std::any_of(
      planned.yielding.begin(), planned.yielding.end(),
      [&](const site::site* at) { return !is_jump(at->address) || taken_behind(at->address) != 0; });
  if (one == requests.end() && !gives_way) return true;
  trap = one != requests.end() ? one->address : planned.yielding.front()->address;
  return false;
}

errc site_planner::write_code() {
  const auto why = slots_.write();
  return why == errc::ok ? jumps_.hops().write() : why;
}

void site_planner::drop() noexcept {
  slots_.drop();
  jumps_.hops().drop();
}

void site_planner::reclaim_idle_code() noexcept {
  if (!slots_.past_bound(site::sites.size())) return;
  try {
    std::unordered_set<const site::slot*> in_use;
    site::sites.for_each([&in_use](const site::site& at) { in_use.insert(at.code); });
    slots_.reclaim_idle(in_use);
  } catch (const std::bad_alloc&) {
    // They stay, as they would if one of them were still in use.
  }
}

}  // namespace libprobe::control
