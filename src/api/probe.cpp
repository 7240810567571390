// The probe's semantics as wiring: user handlers onto an attachment's hooks.
#include <libprobe/probe.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "api/detail.hpp"
#include "api/probe_hooks.hpp"
#include "control/registry.hpp"
#include "site/thread.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

namespace {

using control::registry;

void release(site::attachment& base) noexcept {
  auto& a = static_cast<api::probe_attachment&>(base);
  // Unless the object was registered again meanwhile and belongs to a newer attachment.
  void* mine = static_cast<site::attachment*>(&a);
  static_cast<probe*>(a.owner)->state_.attachment.compare_exchange_strong(mine, nullptr,
                                                                          std::memory_order_release);
  delete &a;
}

std::unique_ptr<api::probe_attachment> attachment_for(probe& p) {
  auto a = std::make_unique<api::probe_attachment>();
  a->pre_handler = p.pre_handler;
  a->post_handler = p.post_handler;
  a->fault_handler = p.fault_handler;
  if (p.pre_handler != nullptr) a->before = api::probe_before;
  if (p.post_handler != nullptr) a->after = api::probe_after;
  if (p.fault_handler != nullptr) a->fault = api::probe_fault;
  a->hits = &p.state_.hits;
  a->missed = &p.state_.missed;
  a->disabled = any(p.flags & probe_flags::disabled);
  a->resting = a->disabled;
  a->owner = &p;
  a->release = release;
  return a;
}

struct saved_state {
  std::uintptr_t address;
  std::uint64_t hits, missed;
};

std::error_code place(std::span<probe* const> probes) {
  const site::quiet no_handlers;
  std::string detail;
  for (auto* p : probes) {
    if (p->pre_handler == nullptr && p->post_handler == nullptr && p->fault_handler == nullptr) {
      return api::refuse(errc::no_handler);
    }
    if (registry::instance().is_registered(p->state_.attachment))
      return api::refuse(errc::already_registered);
  }
  if (std::vector<probe*> sorted{probes.begin(), probes.end()}; sorted.size() > 1) {
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
      return api::refuse(errc::already_registered);
  }
  std::vector<control::request> requests;
  std::vector<std::unique_ptr<api::probe_attachment>> attachments;
  std::vector<saved_state> before;
  requests.reserve(probes.size());
  attachments.reserve(probes.size());
  before.reserve(probes.size());
  for (auto* p : probes) {
    const auto address = [&] {
      const std::lock_guard no_fork{registry::instance().lookups()};
      return symbols::resolve(p->at, detail);
    }();
    if (!address) return api::refuse(address.error(), std::move(detail));
    attachments.push_back(attachment_for(*p));
    requests.push_back({attachments.back().get(), &p->state_.attachment, *address,
                        any(p->flags & probe_flags::single_step)});
  }
  for (std::size_t i = 0; i < probes.size(); ++i) {
    auto& state = probes[i]->state_;
    before.push_back(
        {state.address.exchange(requests[i].address), state.hits.exchange(0), state.missed.exchange(0)});
  }
  const auto why = registry::instance().attach(requests, detail);
  if (why == errc::ok) {
    for (auto& a : attachments) static_cast<void>(a.release());
    return {};
  }
  for (std::size_t i = 0; i < probes.size(); ++i) {
    auto& state = probes[i]->state_;
    state.address = before[i].address;
    state.hits = before[i].hits;
    state.missed = before[i].missed;
  }
  // What was placed for a moment is the registry's to free.
  const bool was_placed =
      std::any_of(requests.begin(), requests.end(), [](const auto& r) { return r.what == nullptr; });
  if (was_placed) {
    for (auto& a : attachments) static_cast<void>(a.release());
  }
  return api::refuse(why, std::move(detail));
}

}  // namespace

std::error_code register_probes(std::span<probe* const> probes) noexcept {
  try {
    return place(probes);
  } catch (const std::bad_alloc&) {
    return api::refuse(errc::out_of_memory);
  }
}

std::error_code register_probe(probe& p) noexcept {
  probe* const one[] = {&p};
  return register_probes(one);
}

void unregister_probe_fast(probe& p) noexcept {
  std::atomic<void*>* const one[] = {&p.state_.attachment};
  registry::instance().detach(one);
}

void unregister_probe(probe& p) noexcept {
  unregister_probe_fast(p);
  registry::instance().commit();
}

void unregister_probes(std::span<probe* const> probes) noexcept {
  for (auto* p : probes) unregister_probe_fast(*p);
  registry::instance().commit();
}

std::error_code enable_probe(probe& p) noexcept {
  return api::refuse(registry::instance().set_disabled(p.state_.attachment, false));
}

std::error_code disable_probe(probe& p) noexcept {
  return api::refuse(registry::instance().set_disabled(p.state_.attachment, true));
}

void detail::probe_state::release(probe_state& state) noexcept {
  std::atomic<void*>* const one[] = {&state.attachment};
  registry::instance().detach(one);
  if (registry::instance().commit() == errc::would_deadlock) {
    // The handler that destroys it would wait for itself; going on would leave other threads with a dead
    // object.
    std::fputs("libprobe: a probe was destroyed inside a handler while it was registered\n", stderr);
    std::abort();
  }
}

}  // namespace libprobe
