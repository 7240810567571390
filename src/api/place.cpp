#include "api/place.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <utility>

#include "api/detail.hpp"
#include "control/counter_store.hpp"
#include "hit/escape.hpp"
#include "hit/guest.hpp"
#include "hit/signal.hpp"
#include "os/maps.hpp"
#include "symbols/lookup.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

namespace api {

using control::registry;

void discard::operator()(site::attachment* a) const noexcept {
  a->owner = nullptr;
  a->release(*a);
}

namespace {

/// Control places the guards, and hit does their work; the two do not know each other.
constexpr control::guard_hooks guards_call{hit::answer_signal_call, hit::on_longjmp, hit::on_spawn};

bool names_one_twice(std::span<const wish> wishes) {
  std::vector<const detail::probe_state*> states;
  states.reserve(wishes.size());
  for (const auto& w : wishes) states.push_back(w.state);
  std::sort(states.begin(), states.end());
  return std::adjacent_find(states.begin(), states.end()) != states.end();
}

std::shared_ptr<const symbols::snapshot> modules_now() {
  const symbols::lookup no_fork{registry::instance().lookups()};
  return symbols::current_modules();
}

/// Those that are there, and those that may wait.
errc look_up(std::span<const wish> wishes, std::vector<control::request>& requests,
             std::vector<control::waiting>& later, std::string& detail) {
  requests.clear();
  later.clear();
  for (const auto& w : wishes) {
    const auto address = [&] {
      const symbols::lookup no_fork{registry::instance().lookups()};
      return symbols::resolve(*w.at, detail);
    }();
    auto request = w.need;
    request.what = w.what.get();
    request.handle = &w.state->attachment;
    request.ledger = &w.state->ledger;
    request.placed_at = &w.state->address;
    if (address) {
      request.address = *address;
      request.pointed = w.at->what() == location::kind::function;
      requests.push_back(request);
      continue;
    }
    const bool missing =
        address.error() == errc::module_not_found || address.error() == errc::symbol_not_found;
    if (!missing || !w.may_wait) return address.error();
    request.waits = true;
    later.push_back({request, w.at->name(), std::exchange(detail, {}), 0});
  }
  return errc::ok;
}

/// Why there may be no memory although there is.
void tell_of_mappings(std::string& detail) noexcept {
  try {
    const auto why = os::mappings_used_up();
    if (!why.empty()) detail += (detail.empty() ? "" : ": ") + why;
  } catch (const std::bad_alloc&) {
    // The code says enough.
  }
}

}  // namespace

arch::vector_use vectors_used_by(std::uintptr_t function) {
  // One handler serves many probes. Code that is read now may be other code when another library has taken
  // its place: nothing is remembered from one registration to the next for long.
  struct answer {
    std::uintptr_t function = 0;
    std::uint64_t generation = 0;
    arch::vector_use use;
  };
  static std::array<answer, 16> answers;
  static std::size_t next = 0;
  const std::lock_guard no_fork{registry::instance().lookups()};
  const auto generation = symbols::generation();
  for (const auto& known : answers) {
    if (known.function == function && known.generation == generation) return known.use;
  }
  auto& made = answers[next++ % answers.size()];
  made = {function, generation, arch::vectors_used_by(function)};
  return made.use;
}

void forget(detail::probe_state& state, site::attachment& a) noexcept {
  if (a.book != nullptr && state.ledger.load(std::memory_order_relaxed) == a.book.get()) {
    control::close(*a.book);
    static_cast<void>(a.book.release());  // the object's own: see registry::end_ledger()
  }
  void* mine = &a;
  state.attachment.compare_exchange_strong(mine, nullptr, std::memory_order_release);
}

std::error_code place(std::span<wish> wishes) {
  std::string detail;
  for (const auto& w : wishes) {
    if (registry::instance().is_registered(w.state->attachment)) return refuse(errc::already_registered);
  }
  if (wishes.size() > 1 && names_one_twice(wishes)) return refuse(errc::already_registered);
  std::vector<control::request> requests;
  std::vector<control::waiting> later;
  auto why = errc::ok;
  for (std::optional<errc> answer; !answer;) {
    const auto modules = modules_now();
    why = look_up(wishes, requests, later, detail);
    if (why != errc::ok) break;
    answer = registry::instance().attach(requests, later, *modules, guards_call, detail);
    if (answer) why = *answer;
    // One that could not be found before it was known that it is waited for.
    if (why == errc::ok && !later.empty() && modules_now()->counts != modules->counts)
      registry::instance().place_waiting();
  }
  // What was placed, if only for a moment, is the registry's to free.
  const bool was_placed =
      std::any_of(requests.begin(), requests.end(), [](const auto& r) { return r.what == nullptr; });
  if (why == errc::ok || was_placed) {
    for (auto& w : wishes) static_cast<void>(w.what.release());
  }
  if (why == errc::ok) return refuse(why);
  if (why == errc::out_of_code_memory || why == errc::out_of_memory || why == errc::text_not_writable)
    tell_of_mappings(detail);
  return refuse(why, std::move(detail));
}

}  // namespace api

void detail::probe_state::release(probe_state& state) noexcept {
  auto& registry = control::registry::instance();
  std::atomic<void*>* const one[] = {&state.attachment};
  const bool linked = state.attachment.load(std::memory_order_acquire) != nullptr;
  if (linked) registry.detach(one);
  if (linked && registry.commit(one) == errc::would_deadlock) {
    // The handler that destroys it would wait for itself; going on would leave other threads with a dead
    // object.
    std::fputs("libprobe: a probe was destroyed inside a handler while it was registered\n", stderr);
    std::abort();
  }
  registry.end_ledger(state.ledger);
}

}  // namespace libprobe
