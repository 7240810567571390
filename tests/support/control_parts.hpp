// The parts of control, put together as the registry does it, without the registry.
#pragma once

#include <vector>

#include "control/module_watch.hpp"
#include "control/registration.hpp"
#include "control/removal.hpp"
#include "control/site_planner.hpp"
#include "control/site_text.hpp"
#include "epoch/epoch.hpp"
#include "epoch/retirement.hpp"
#include "support/control_scene.hpp"

namespace libprobe::test {

struct control_parts {
  epoch::retirement retired;
  control::site_planner planner;
  control::module_watch modules{text, retired};
  control::site_text text{modules, planner.functions(), planner.jumps()};
  control::removal removed{text, modules, retired};
  control::registration placing{planner, text, removed, modules, retired};

  control_parts() { modules.look(); }

  /// As a commit does it.
  errc take_out_and_free() {
    auto answer = errc::ok;
    if (const auto covered = removed.take_out(answer); covered != 0) epoch::wait(covered);
    removed.free_complete();
    return answer;
  }
  void remove(std::vector<site::attachment*> all) {
    for (auto* a : all) removed.queue(*a);
    take_out_and_free();
  }
};

/// A request for an attachment at an address.
inline control::request request_for(attachment& a, std::uintptr_t address) {
  control::request made;
  made.what = &a;
  made.handle = &a.handle;
  made.address = address;
  return made;
}

}  // namespace libprobe::test
