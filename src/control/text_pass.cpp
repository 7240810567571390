#include "control/text_pass.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "control/held_write.hpp"
#include "control/traced.hpp"
#include "os/barrier.hpp"
#include "os/text.hpp"
#include "os/tracer.hpp"
#include "site/past_breakpoints.hpp"

namespace libprobe::control {

namespace {

using site::text;

constexpr std::size_t most_steps = 3;

/// How the states that other threads may meet on the way are kept harmless.
enum class manner : std::uint8_t {
  phases,  // each is right by itself, but the breakpoints in them trap
  whole,   // there are none: for a traced process, whose traps stop it, and threads that a trap would kill
};

/// The next state on the way to `wanted`.
text next_state(text now, text wanted, manner how) noexcept {
  if (how == manner::whole) return wanted;
  return arch::next_phase(now, wanted);
}

/// A site that has no jump, or may not have it now, stays a breakpoint.
text goal_of(const site::site& at, text wanted) noexcept {
  if (at.gone) return text::original;
  const bool none = at.jump == nullptr || at.yields || at.retreated;
  return wanted == text::jump && none ? text::breakpoint : wanted;
}

bool is_wide(text state) noexcept { return state >= text::staged; }

/// An earlier jump stands there, which has to go in one step.
bool is_replaced(const site::site& at) noexcept { return at.jump != nullptr && at.jump->replaced != 0; }

arch::window_bytes image_of(const site::site& at, text state) noexcept {
  if (at.jump == nullptr) return arch::image_of(state, at.plan.original);
  return arch::image_of(state, at.jump->shape, at.jump->original, at.jump->jump);
}

/// One site's edit in one step, with the bytes that it refers to.
struct step {
  site::site* at = nullptr;
  text from{}, to{};
  arch::window_bytes expected{}, wanted{};
  std::size_t size = arch::breakpoint_length;

  step() = default;
  step(site::site& where, text goal, manner how) noexcept
      : at{&where},
        from{where.now},
        to{next_state(from, goal, how)},
        expected{is_replaced(where) ? where.jump->replaces : image_of(where, from)},
        wanted{image_of(where, to)},
        size{is_wide(from) || is_wide(to) ? where.jump->shape.window : arch::breakpoint_length} {
    if (is_replaced(where)) size = where.jump->replaced;
    // A debugger may have a breakpoint of its own at the next instruction, whose bytes stay as they are.
    while (how == manner::whole && size > arch::breakpoint_length && expected[size - 1] == wanted[size - 1])
      --size;
  }
  [[nodiscard]] os::edit edit() const noexcept {
    return {at->address, expected.data(), wanted.data(), static_cast<std::uint32_t>(size),
            os::edit::outcome::pending};
  }
};

void announce(const step& s, window_observer& observer) noexcept {
  if (arch::is_breakpoint(s.expected) && !arch::is_breakpoint(s.wanted) && os::is_traced())
    site::past.add(s.at->address);
  if (is_wide(s.to) && (!is_wide(s.from) || is_replaced(*s.at))) observer.window_closes(*s.at);
}
void conclude(const step& s, window_observer& observer) noexcept {
  if (is_replaced(*s.at)) s.at->jump->replaced = 0;
  if (is_wide(s.from) && !is_wide(s.to)) observer.window_is_open(*s.at);
}

bool may_be_phased(std::span<site::site* const> sites) noexcept {
  return std::none_of(sites.begin(), sites.end(), [](const auto* at) { return is_replaced(*at); });
}

manner manner_for(std::span<site::site* const> sites) noexcept {
  return writes_avoid_traps() || !may_be_phased(sites) ? manner::whole : manner::phases;
}

/// Other threads may stand inside of it.
bool closes_window(const step& s) noexcept {
  return is_wide(s.to) && (!is_wide(s.from) || is_replaced(*s.at)) && s.at->jump->shape.boundaries != 0;
}

/// The steps have been announced.
bool write_steps(std::span<const step> steps, std::span<os::edit> edits, bool all_or_nothing,
                 manner how) noexcept {
  if (how == manner::phases) return os::write_text(edits, all_or_nothing);
  if (std::none_of(steps.begin(), steps.end(), closes_window))
    return os::exchange_text(edits, all_or_nothing);
  return exchange_held(edits, all_or_nothing);
}

struct pass {
  std::vector<step> steps;
  std::vector<os::edit> edits;

  void begin(std::span<site::site* const> sites, text wanted, manner how) {
    steps.clear();
    edits.clear();
    for (auto* at : sites) {
      const auto goal = goal_of(*at, wanted);
      if (at->now != goal || is_replaced(*at)) steps.emplace_back(*at, goal, how);
    }
    std::transform(steps.begin(), steps.end(), std::back_inserter(edits),
                   [](const step& s) { return s.edit(); });
  }
};

}  // namespace

namespace {

errc restore(std::span<site::site* const> sites, text wanted, window_observer& observer, manner how) noexcept;

}  // namespace

errc write_text(std::span<site::site* const> sites, text wanted, window_observer& observer) {
  if (sites.empty()) return errc::ok;
  std::vector<text> before(sites.size());
  std::transform(sites.begin(), sites.end(), before.begin(),
                 [](const site::site* at) { return at->now.load(); });
  pass now;
  now.steps.reserve(sites.size());
  now.edits.reserve(sites.size());
  const site::text_owner mine;
  auto how = manner_for(sites);
  for (;;) {
    now.begin(sites, wanted, how);
    if (now.steps.empty()) return errc::ok;
    for (const auto& s : now.steps) announce(s, observer);
    const bool good = write_steps(now.steps, now.edits, true, how);
    os::synchronize_cores();
    // Also after a failure: a breakpoint that could not be taken back must keep its site.
    for (std::size_t n = 0; n < now.steps.size(); ++n) {
      auto& s = now.steps[n];
      if (now.edits[n].done == os::edit::outcome::written) {
        s.at->now = s.to;
        conclude(s, observer);
      } else if (is_wide(s.to) && !is_wide(s.from)) {
        observer.window_is_open(*s.at);
      }
    }
    if (good) continue;
    const bool differs = std::any_of(now.edits.begin(), now.edits.end(), [](const os::edit& e) {
      return e.done == os::edit::outcome::differs || e.done == os::edit::outcome::gone;
    });
    if (differs) observer.text_is_others();
    for (std::size_t n = 0; n < sites.size(); ++n) restore(sites.subspan(n, 1), before[n], observer, how);
    if (how == manner::whole && !differs && deaf_thread() == 0 &&
        may_be_phased(sites)) {  // refused: by phases then, which need less
      how = manner::phases;
      continue;
    }
    return differs ? errc::text_changed : errc::text_not_writable;
  }
}

errc restore_text(std::span<site::site* const> sites, text wanted, window_observer& observer) noexcept {
  if (sites.empty()) return errc::ok;
  const site::text_owner mine;
  const auto how = manner_for(sites);
  const auto answer = restore(sites, wanted, observer, how);
  if (how == manner::phases || deaf_thread() != 0 || answer != errc::text_not_writable ||
      !may_be_phased(sites))
    return answer;
  return restore(sites, wanted, observer, manner::phases);
}

namespace {

/// A debugger's breakpoints stand on top of our jump. It will put the jump's bytes back there, whatever else
/// stands beside them by then.
bool is_held(const step& s) noexcept {
  arch::window_bytes there{};
  const auto bytes = std::span{there}.first(s.size);
  return is_wide(s.from) && os::is_traced() && os::read_memory(s.at->address, bytes) &&
         arch::is_covered_by_breakpoints(bytes, std::span{s.expected}.first(s.size));
}

errc restore(std::span<site::site* const> sites, text wanted, window_observer& observer,
             manner how) noexcept {
  errc answer = errc::ok;
  constexpr std::size_t at_once = 256;
  for (std::size_t i = 0; i < most_steps; ++i) {
    bool any = false;
    for (std::size_t first = 0; first < sites.size();) {
      std::array<step, at_once> steps;
      std::array<os::edit, at_once> edits;
      std::size_t count = 0;
      for (; first < sites.size() && count < at_once; ++first) {
        auto& at = *sites[first];
        const auto goal = goal_of(at, wanted);
        if (at.now == goal && !is_replaced(at)) continue;
        steps[count] = step{at, goal, how};
        announce(steps[count], observer);
        edits[count] = steps[count].edit();
        ++count;
      }
      write_steps(std::span{steps}.first(count), std::span{edits}.first(count), false, how);
      for (std::size_t n = 0; n < count; ++n) {
        auto& s = steps[n];
        if (edits[n].done == os::edit::outcome::written) {
          s.at->now = s.to;
        } else if (edits[n].done == os::edit::outcome::refused) {
          answer = errc::text_not_writable;
          continue;
        } else if (is_held(s)) {
          answer = errc::text_changed;
          continue;
        } else {
          s.at->now = text::original;
          observer.text_is_others();
        }
        s.to = s.at->now;
        conclude(s, observer);
      }
      any = any || count != 0;
    }
    if (!any) break;
    os::synchronize_cores();
  }
  return answer;
}

}  // namespace

}  // namespace libprobe::control
