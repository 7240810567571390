// Plans jumps in the place of breakpoints.
#pragma once

#include <cstdint>
#include <deque>

#include "control/function_text.hpp"
#include "control/hop_store.hpp"
#include "control/slot_store.hpp"
#include "control/specification.hpp"
#include "site/site.hpp"

namespace libprobe::control {

/// Goes down the ladder of tactics until one finds room, and makes the code that the jump will lead to: a
/// detour, which calls the handlers, linked to a copy of each displaced instruction. Control only, under its
/// lock; throws std::bad_alloc.
class jump_planner {
 public:
  jump_planner(function_text& functions, slot_store& slots) noexcept : functions_{functions}, slots_{slots} {}

  /// Gives a planned site its jump, or says in why_trap why it has none. `taken`: bit n: another probed
  /// address lies n bytes behind the site's.
  void choose(site::site& at, std::uint32_t taken, const specification& of);

  /// Where threads that come to an inner boundary of the site's window go on. Before the window is written,
  /// and after it is restored.
  void set_landings(const site::site& at, bool active) noexcept;

  /// So many probes are about to be planned.
  void expect(std::size_t probes);

  hop_store& hops() noexcept { return hops_; }

 private:
  struct chain;
  /// Where a debugger may put breakpoints of its own.
  struct beside {
    bool needed = false;        // no jump without hops for all of them
    std::uint32_t now = 0;      // bit n: one stands n bytes behind the address
    std::uint32_t perhaps = 0;  // bit n: one may be set there
  };
  bool try_shape(site::site& at, const function_text::ground& ground, const arch::jump_shape& shape,
                 const specification& of, const beside& breakpoints, bool in_new_page);
  static beside breakpoints_beside(std::uintptr_t address, const function_text::ground& ground);
  bool lead_beside(std::uintptr_t address, const arch::jump_shape& shape, const beside& breakpoints,
                   std::uintptr_t detour);
  bool link(const site::site& at, const function_text::ground& ground, const arch::jump_shape& shape,
            const specification& of, chain& made);
  site::detour& detour_of(std::uintptr_t address);
  bool link_entry(site::purpose purpose, chain& made);
  bool link_original(const arch::displaced& first, std::uintptr_t next, chain& made);
  result<slot_store::handle> copy_of(const arch::displaced& plan, std::uintptr_t address,
                                     std::uintptr_t next);
  void add_landings(std::uintptr_t address, const arch::jump_shape& shape);

  function_text& functions_;
  slot_store& slots_;
  hop_store hops_;
  // For good, since code refers to them.
  std::deque<site::detour> detours_;
  site::table<site::detour> detour_at_;
  std::deque<site::landing> landings_;
};

}  // namespace libprobe::control
