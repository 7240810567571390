// The api: the public functions, made of control, hit and symbols. It alone knows both control and hit, and
// hands to control what guards call in hit (place.cpp).
//
// Floor: on all but profile. *_hooks.cpp are part of the hit path and keep hit's rules; all else may block.
// Words: a *kind*, a type of probe (<libprobe/kinds.hpp>); its *handle*, the pointer in the user's object to
// the attachment; to *part*, to tell the user's object that it is free.
//
// This header: what can be done with a probe, once for all kinds. A kind says what it is in a file of its
// own:
//
//   template <>
//   struct api::kind_of<counter> : api::plain_kind<site::attachment> {      // the attachment's type
//     static constexpr char letter = 'c';                                 // in list_probes()
//     static bool has_handler(const counter& c) noexcept;                 // optional; else errc::no_handler
//     static errc fill(counter& c, attachment& a, control::request& need);  // hooks, and what they need;
//   };                                                                    // throws std::bad_alloc
//   LIBPROBE_KIND(counter, counters)                                      // the public functions
//
// A kind whose calls outlast the grace period has may_part(), false as long as the user's object is needed
// (calls of a replacement), or may_free(), false as long as the attachment is (open calls of a retprobe). Its
// public header declares the functions, and is named in <libprobe/kinds.hpp>.
#pragma once

#include <algorithm>
#include <array>
#include <libprobe/registration.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "api/detail.hpp"
#include "api/place.hpp"
#include "control/counter_store.hpp"
#include "os/signals.hpp"
#include "os/threads.hpp"
#include "site/thread.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

/// What is known of a probe whose kind is not.
struct detail::kind {
  result<api::wish> (*wish_for)(void* object, std::string& detail);
};

namespace api {

template <class Probe>
struct kind_of;

/// What a kind that says no more is like.
template <class Attachment>
struct plain_kind {
  using attachment = Attachment;
  static bool has_handler(const auto& /*probe*/) noexcept { return true; }
  /// After the grace period: may the user's object be free, and the attachment then freed?
  static bool may_part(const Attachment& /*a*/) noexcept { return true; }
  static bool may_free(const Attachment& /*a*/) noexcept { return true; }
};

template <class Probe>
void part(site::attachment& a) noexcept {
  if (a.owner != nullptr) forget(static_cast<Probe*>(a.owner)->state_, a);
  a.owner = nullptr;
}

template <class Probe>
bool release(site::attachment& base) noexcept {
  using kind = kind_of<Probe>;
  auto& a = static_cast<typename kind::attachment&>(base);
  if (!kind::may_part(a)) return false;
  part<Probe>(a);
  if (!kind::may_free(a)) return false;
  delete &a;
  return true;
}

/// What one probe asks for, or why it cannot be placed at all. Throws std::bad_alloc.
template <class Probe>
result<wish> wish_for(Probe& p, std::string& detail) {
  using kind = kind_of<Probe>;
  if (p.at.what() == location::kind::unborn) {
    static_cast<void>(symbols::resolve(p.at, detail));  // says so
    return errc::malformed_location;
  }
  if (!kind::has_handler(p)) return errc::no_handler;
  auto* const a = new typename kind::attachment;
  a->part = part<Probe>;
  a->release = release<Probe>;
  wish made{&p.at, &p.state_, attachment_ptr{a}, {}, any(p.flags & probe_flags::pending)};
  a->book = control::take_ledger();
  a->hits.begin(a->book->by_others, a->book->own.column.load(std::memory_order_relaxed));
  a->missed = &a->book->missed;
  a->disabled = any(p.flags & probe_flags::disabled);
  a->resting = a->disabled;
  a->kind = kind::letter;
  a->owner = &p;
  a->on_stack_of = os::is_on_own_stack(&p) ? os::thread_id() : 0;
  made.need.no_jump = any(p.flags & probe_flags::no_jump);
  if (const auto why = kind::fill(p, *a, made.need); why != errc::ok) return why;
  return made;
}
template <class Probe>
result<wish> wish_for(Probe* p, std::string& detail) {
  return wish_for(*p, detail);
}
inline result<wish> wish_for(const detail::any_probe& p, std::string& detail) {
  return p.what->wish_for(p.object, detail);
}

template <class Probe>
detail::any_probe of_any_kind(Probe& p) noexcept {
  static constexpr detail::kind what{
      [](void* object, std::string& detail) { return wish_for(*static_cast<Probe*>(object), detail); }};
  return {&p, &p.state_, &what};
}

inline handle* handle_of(const detail::any_probe& p) noexcept { return &p.state->attachment; }
template <class Probe>
handle* handle_of(Probe* p) noexcept {
  return &p->state_.attachment;
}

// What follows takes pointers to probes of one kind, or probes of any kinds.

template <class One>
std::error_code register_all(std::span<One const> probes) noexcept {
  const site::quiet no_handlers;
  try {
    std::vector<wish> wishes;
    wishes.reserve(probes.size());
    for (const auto& p : probes) {
      std::string detail;
      auto made = wish_for(p, detail);
      if (!made) return refuse(made.error(), std::move(detail));
      wishes.push_back(std::move(*made));
    }
    return place(wishes);
  } catch (const std::bad_alloc&) {
    return refuse(errc::out_of_memory);
  }
}

/// Some at a time, since each call takes a lock.
template <class One>
void detach_all(std::span<One const> probes) noexcept {
  std::array<handle*, 64> handles;
  while (!probes.empty()) {
    const auto some = probes.first(std::min(probes.size(), handles.size()));
    std::transform(some.begin(), some.end(), handles.begin(), [](const One& p) { return handle_of(p); });
    control::registry::instance().detach(std::span{handles}.first(some.size()));
    probes = probes.subspan(some.size());
  }
}

template <class One>
errc commit_these(std::span<One const> probes) noexcept {
  if (probes.size() == 1) {
    handle* const one[] = {handle_of(probes.front())};
    return commit_these(std::span<handle* const>{one});
  }
  const site::quiet no_handlers;
  try {
    std::vector<handle*> handles;
    handles.reserve(probes.size());
    for (const auto& p : probes) handles.push_back(handle_of(p));
    return commit_these(std::span<handle* const>{handles});
  } catch (const std::bad_alloc&) {
    return commit_all();
  }
}

template <class One>
void unregister_all(std::span<One const> probes) noexcept {
  detach_all(probes);
  refuse(commit_these(probes));
}

template <class Probe>
std::error_code set_disabled(Probe& p, bool disabled) noexcept {
  return refuse(control::registry::instance().set_disabled(p.state_.attachment, disabled));
}

/// One, as an array.
template <class Probe>
struct only {
  explicit only(Probe& p) noexcept : probe{&p} {}
  Probe* const probe;
  operator std::span<Probe* const>() const noexcept { return {&probe, 1}; }
};

}  // namespace api

}  // namespace libprobe

// NOLINTBEGIN(bugprone-macro-parentheses): a type, and parts of names.
/// The public functions of a kind, in namespace libprobe. Only a macro can make their names.
#define LIBPROBE_KIND(name, names)                                                                         \
  std::error_code register_##name(name& p) noexcept { return register_##names(api::only{p}); }             \
  std::error_code register_##names(std::span<name* const> all) noexcept { return api::register_all(all); } \
  void unregister_##name(name& p) noexcept { unregister_##names(api::only{p}); }                           \
  void unregister_##names(std::span<name* const> all) noexcept { api::unregister_all(all); }               \
  void unregister_##name##_fast(name& p) noexcept { api::detach_all<name*>(api::only{p}); }                \
  std::error_code enable_##name(name& p) noexcept { return api::set_disabled(p, false); }                  \
  std::error_code disable_##name(name& p) noexcept { return api::set_disabled(p, true); }                  \
  detail::any_probe detail::of_any_kind(name& p) noexcept { return api::of_any_kind(p); }
// NOLINTEND(bugprone-macro-parentheses)
