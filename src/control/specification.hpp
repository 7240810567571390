// What a probe asks of the place where it goes. One structure, from the api to the code that is made for it.
//
// Floor: control, on site and arch. Knows nothing else of control.
// Words: a *specification* is what is asked for; a *placement* (site_planner.hpp) is what comes of it.
#pragma once

#include "site/site.hpp"

namespace libprobe::control {

/// Of one probe; or of all that are at one address, together.
struct specification {
  bool step = false;      // the displaced instruction runs by the trap flag
  bool code = false;      // the displaced instruction must be able to run in a slot
  bool entry = false;     // only at a function's first instruction
  bool pointed = false;   // the user's function pointer leads there
  bool follow = false;    // its return address will be changed, or somebody in between calls it
  bool after = false;     // some of its hooks run behind the displaced instruction
  bool no_jump = false;   // a breakpoint, also where a jump could stand
  bool replaced = false;  // another function runs in its place, and may call the original
  site::purpose purpose = site::purpose::any;  // what a detour of its own would do

  /// That of another probe at the same address, too.
  void add(const specification& other) noexcept;
  /// What the site's probes have asked for until now, too.
  void add_present(const site::site& at) noexcept;
  /// False: the site has to be planned anew. (Branches are emulated in any case.)
  [[nodiscard]] bool met_by(const site::site& at) const noexcept;
};

}  // namespace libprobe::control
