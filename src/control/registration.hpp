// Registration: plan everything, then publish, then write text. And what concerns one registered probe's text
// later: to enable and to disable it.
//
// Floor: control, on site. Of control it knows the planner, site text, removal (for what was published and
// has to go again) and the module watch. Words: a site is *published* when hits can find it in the table; it
// is *armed* when its breakpoint or jump stands in the text.
#pragma once

#include <cstdint>
#include <libprobe/error.hpp>
#include <memory>
#include <span>
#include <string>

#include "control/module_watch.hpp"
#include "control/removal.hpp"
#include "control/request.hpp"
#include "control/site_planner.hpp"
#include "control/site_text.hpp"
#include "epoch/retirement.hpp"

namespace libprobe::control {

/// Which redirections will do.
enum class need : std::uint8_t {
  any,
  jumps,  // refused where it would be a breakpoint
};

/// All members under control's lock, after the first look at the modules.
class registration {
 public:
  /// Sites that are planned anew go to `retired`.
  registration(site_planner& planner, site_text& text, removal& removed, module_watch& modules,
               epoch::retirement& retired) noexcept
      : planner_{planner}, text_{text}, removed_{removed}, modules_{modules}, retired_{retired} {}
  registration(const registration&) = delete;
  registration& operator=(const registration&) = delete;

  /// All or none. On failure the requests' attachments are the caller's again; or they are null, and wait for
  /// a commit: handlers may have been running already.
  errc place(std::span<request> requests, std::string& detail, need which = need::any);

  /// Where the text cannot be written all stays as it was.
  errc set_disabled(site::attachment& a, bool disabled) noexcept;
  /// One that is published, but is not armed. Where the text cannot be written the probe stays, disabled, and
  /// enable_*() will tell why.
  void arm_alone(site::attachment& a) noexcept;

 private:
  errc prepare(std::span<request> requests, placement& planned, std::string& detail, need which);
  void reserve(std::size_t requests, const placement& planned);
  errc make_way(const placement& planned, std::string& detail);
  void publish(std::span<request> requests, std::span<std::unique_ptr<site::site>> fresh) noexcept;
  void publish(std::unique_ptr<site::site> fresh) noexcept;
  void link(request& r) noexcept;
  errc arm(std::span<const request> requests, std::string& detail);

  site_planner& planner_;
  site_text& text_;
  removal& removed_;
  module_watch& modules_;
  epoch::retirement& retired_;
};

}  // namespace libprobe::control
