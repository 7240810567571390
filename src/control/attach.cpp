// Registration: plan everything, then publish, then write text.
#include <fmt/format.h>

#include <algorithm>

#include "control/engine.hpp"
#include "control/registry.hpp"
#include "control/text_pass.hpp"
#include "epoch/epoch.hpp"
#include "site/thread.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

namespace {

using method = arch::displaced::method;

/// The site as it is cannot do what is asked for. (Branches are emulated in any case.)
bool must_replan(const site::site& at, const request& r) noexcept {
  const bool step = r.step && at.plan.how != method::step && !arch::is_branch(at.plan);
  return step || (r.code && at.code == nullptr);
}

result<std::unique_ptr<site::site>> plan_site(std::uintptr_t address, bool step, bool code,
                                              function_text& functions, slot_store& slots,
                                              std::string& detail) {
  if (const auto why = symbols::probeable(address); why != errc::ok) {
    detail = fmt::format("{:#x} ({}): {}", address, symbols::describe(address).module,
                         make_error_code(why).message());
    return why;
  }
  const auto what = functions.instruction_at(address, detail);
  if (!what) return what.error();
  const auto plan = arch::plan(*what, address, step);
  if (!plan) {
    detail = fmt::format("the instruction at {:#x} cannot be displaced", address);
    return plan.error();
  }
  auto fresh = std::make_unique<site::site>();
  fresh->address = address;
  fresh->plan = *plan;
  if (code || plan->how != method::emulate) {
    const auto slot = slots.get(*plan, address);
    if (!slot) {
      detail = fmt::format("no code memory within reach of {:#x}", address);
      return slot.error();
    }
    fresh->code = *slot;
  }
  return fresh;
}

}  // namespace

errc registry::plan(std::span<request> requests, std::vector<std::unique_ptr<site::site>>& fresh,
                    std::string& detail) {
  // Looked at by the caller, too, but since then another thread may have registered the same object.
  if (std::any_of(requests.begin(), requests.end(), [](const request& r) {
        const auto* known = static_cast<const site::attachment*>(r.handle->load(std::memory_order_acquire));
        return known != nullptr && !known->removed;
      })) {
    return errc::already_registered;
  }
  for (std::size_t i = 0; i < requests.size();) {
    request whole = requests[i];
    auto last = i;
    for (; last < requests.size() && requests[last].address == whole.address; ++last) {
      whole.step = whole.step || requests[last].step;
      whole.code = whole.code || requests[last].code;
      whole.entry = whole.entry || requests[last].entry;
      whole.follow = whole.follow || requests[last].follow;
    }
    if (whole.entry && !functions_.is_entry(whole.address)) {
      detail = fmt::format("{:#x} is not a function's first instruction", whole.address);
      return errc::not_function_entry;
    }
    if (whole.follow && !symbols::may_be_followed(whole.address)) {
      detail = fmt::format("{:#x} ({}) returns in ways that cannot be followed", whole.address,
                           symbols::describe(whole.address).symbol);
      return errc::denied_address;
    }
    const site::site* known = site::sites.find(whole.address);
    if (known == nullptr || must_replan(*known, whole)) {
      const bool step = whole.step || (known != nullptr && known->plan.how == method::step);
      const bool code = whole.code || (known != nullptr && known->code != nullptr);
      auto made = plan_site(whole.address, step, code, functions_, slots_, detail);
      if (!made) return made.error();
      fresh.push_back(std::move(*made));
    }
    i = last;
  }
  // Nothing after this may run out of memory.
  const auto room = attached_ + requests.size();
  queue_.reserve(room);
  dying_.reserve(room);
  touched_.reserve(room);
  site::sites.reserve(fresh.size());
  return errc::ok;
}

void registry::publish(std::span<request> requests, std::span<std::unique_ptr<site::site>> fresh) noexcept {
  for (auto& made : fresh) {
    if (site::site* old = site::sites.find(made->address)) {
      // The same place, planned anew. Readers of either see the same list; the old one goes with the next
      // grace period.
      made->first.store(old->first.load(std::memory_order_relaxed), std::memory_order_relaxed);
      made->last = old->last;
      made->armed = old->armed;
      for (auto* a = made->first.load(); a != nullptr; a = a->next.load()) a->where = made.get();
      old->next_retired = std::exchange(retired_sites_, old);
    }
    site::site* now = made.release();
    site::sites.insert(now->address, now);
  }
  for (auto& r : requests) {
    site::site* at = site::sites.find(r.address);
    r.what->where = at;
    r.what->body = at->code != nullptr ? at->code->jump_part() : 0;
    auto& link = at->last != nullptr ? at->last->next : at->first;
    link.store(r.what,
               std::memory_order_release);  // pairs with the acquire loads of run_before() and its like
    at->last = r.what;
    r.handle->store(r.what, std::memory_order_release);
    ++attached_;
  }
}

errc registry::arm_sites(std::span<request> requests, std::string& detail) {
  std::vector<site::site*> sites;
  sites.reserve(requests.size());
  for (const auto& r : requests) {
    site::site* at = r.what->where;
    if (!r.what->disabled && !at->armed && (sites.empty() || sites.back() != at)) sites.push_back(at);
  }
  const auto why = write_breakpoints(sites);
  if (why == errc::ok) return why;
  functions_.forget();
  detail = why == errc::text_changed ? "the text to be patched is not what was decoded"
                                     : "the kernel refuses to write the program's text";
  return why;
}

errc registry::attach(std::span<request> requests, std::string& detail) {
  const site::quiet no_handlers;
  std::stable_sort(requests.begin(), requests.end(),
                   [](const request& a, const request& b) { return a.address < b.address; });
  std::unique_lock guard{lock_};
  if (const auto why = prepare_engine(); why != errc::ok) return why;
  std::vector<std::unique_ptr<site::site>> fresh;
  errc why = errc::ok;
  try {
    why = plan(requests, fresh, detail);
    if (why == errc::ok) why = slots_.write();
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why != errc::ok) {
    slots_.drop();
    return why;
  }
  publish(requests, fresh);
  try {
    why = arm_sites(requests, detail);
  } catch (const std::bad_alloc&) {
    why = errc::out_of_memory;
  }
  if (why == errc::ok) return why;
  // They were in the table, and at a place that was armed already their handlers may be running.
  for (auto& r : requests) {
    queue(*r.what);
    r.what = nullptr;
  }
  guard.unlock();
  commit();
  return why;
}

}  // namespace libprobe::control
