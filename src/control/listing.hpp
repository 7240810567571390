// What list_probes() shows, gathered under control's lock.
//
// Floor: control, on site and symbols. Of control it knows pending probes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "arch/patch.hpp"
#include "arch/slot.hpp"
#include "control/pending.hpp"
#include "site/site.hpp"
#include "symbols/modules.hpp"

namespace libprobe::control {

/// One probe.
struct entry {
  std::uintptr_t address;
  char kind;
  bool disabled;
  arch::displaced::method how;
  bool jump;  // it stands there now
  arch::tactic tactic;
  const char* why_trap;  // null where there is a jump, or where a breakpoint was asked for
  std::uint64_t hits, missed;
  std::shared_ptr<const symbols::module> gone_with;  // null: it is there
  std::string waits_for, why_not_placed;             // of one that waits
};

/// Adds the site's probes that are not removed, but for guards: those are nobody's.
void add_entries(const site::site& at, const std::shared_ptr<const symbols::module>& gone_with,
                 std::vector<entry>& to);
/// Adds one that waits.
void add_entry(const waiting& one, std::vector<entry>& to);

}  // namespace libprobe::control
