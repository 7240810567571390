// Planning: what becomes of requests, before anything of the program is changed. All that can fail fails
// here.
//
// Floor: control, on site, symbols and arch. Of control it knows the text of functions, the stores of code
// (slots, hops) and the planner of jumps, which it owns; nothing that changes the program.
// Words: a *placement* is what was planned for one registration: new sites, and those that must yield; a
// *slot* is where a displaced instruction runs out of line; *hop*: see hop_store.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <libprobe/error.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "control/function_text.hpp"
#include "control/jump_planner.hpp"
#include "control/request.hpp"
#include "control/slot_store.hpp"
#include "site/site.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

/// In order of address.
struct placement {
  std::vector<std::unique_ptr<site::site>> fresh;  // new sites, or known ones that are planned anew
  std::vector<site::site*> yielding;               // whose jump is in the way

  /// The fresh one there; null: none.
  [[nodiscard]] const site::site* fresh_at(std::uintptr_t address) const noexcept;
};

/// All members under control's lock.
class site_planner {
 public:
  site_planner() = default;
  site_planner(const site_planner&) = delete;
  site_planner& operator=(const site_planner&) = delete;

  /// Sorts the requests by address, and lays out a site for each address that has none that will do. The code
  /// that sites need is not in place until write_code(). On failure, or if nothing comes of it: drop().
  /// Throws std::bad_alloc.
  errc lay_out(std::span<request> requests, const symbols::snapshot& modules, placement& made,
               std::string& detail);
  /// The answer that lay_out() would give, without jumps, on which it does not depend. Nothing is kept.
  errc check(std::span<request> requests, const symbols::snapshot& modules, std::string& detail);
  /// As planned, no request would trap, nor would a site whose jump has to yield. False: `trap` would.
  [[nodiscard]] static bool all_are_jumps(std::span<const request> requests, const placement& planned,
                                          std::uintptr_t& trap) noexcept;

  errc write_code();
  void drop() noexcept;

  /// Takes back slots that no site uses, when there are many. Only when no more than the table's own sites
  /// can lead into a slot.
  void reclaim_idle_code() noexcept;

  // Its parts, for who writes text, and for tests.
  function_text& functions() noexcept { return functions_; }
  jump_planner& jumps() noexcept { return jumps_; }
  slot_store& slots() noexcept { return slots_; }

 private:
  enum class extent : std::uint8_t { whole, without_jumps };
  errc lay_out(std::span<request> requests, const symbols::snapshot& modules, placement& made, extent much,
               std::string& detail);
  errc check_function(const specification& of, std::uintptr_t address, std::string& detail);
  result<std::unique_ptr<site::site>> make_site(const request& of, std::string& detail);
  void give_jump(site::site& at, const specification& of, std::span<const request> behind, placement& made);
  static void add_old_jumps(placement& made);

  function_text functions_;
  slot_store slots_;
  jump_planner jumps_{functions_, slots_};
};

}  // namespace libprobe::control
