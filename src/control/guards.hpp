// All of libprobe's guards, put in place before the first probe: in libc, so that no thread can take SIGTRAP
// away from it; in the loader, so that it knows of modules; and where functions are left without a return.
//
// Floor: control, on os. Of control it knows the guards to be placed (signal_guards, escape_guards,
// loader_guard), registration and its planner, and the module watch.
// Words: see guard.hpp. A guard is *wide* when its jump displaces more than one instruction; a thread is
// *deaf* while it has SIGTRAP blocked.
#pragma once

#include <libprobe/error.hpp>
#include <span>
#include <string>
#include <vector>

#include "control/guard.hpp"
#include "control/module_watch.hpp"
#include "control/registration.hpp"
#include "control/site_planner.hpp"

namespace libprobe::control {

/// All members under control's lock, after the first look at the modules.
class guards {
 public:
  guards(site_planner& planner, registration& placing, module_watch& modules,
         const loader_hooks& tell) noexcept
      : planner_{planner}, placing_{placing}, modules_{modules}, tell_{tell} {}
  guards(const guards&) = delete;
  guards& operator=(const guards&) = delete;

  /// They stand, and no thread is deaf: nothing is left to be done.
  [[nodiscard]] bool are_complete() const noexcept { return complete_; }
  /// Puts them in place if the requests can be placed: so refused ones leave no guards behind.
  errc put(std::span<request> requests, const guard_hooks& hooks, std::string& detail);

 private:
  errc put_signal_guards(const guard_hooks& hooks, std::string& detail);
  void place_quietly(std::vector<request>& signal_guards);
  std::vector<request> take_wide(std::vector<request>& from);
  void watch_loader(need which);
  bool place_each(std::vector<request> all, need which);

  site_planner& planner_;
  registration& placing_;
  module_watch& modules_;
  loader_hooks tell_;
  bool stand_ = false;
  bool complete_ = false;
};

}  // namespace libprobe::control
