// What stands in the program's text: breakpoints and jumps are put there and taken back, and jumps that gave
// way to another probe come back when that is gone.
//
// Floor: control, on site and os. Of control it knows the text pass that writes (text_pass.hpp), the module
// watch, by which nothing is written into memory that is unloaded, and the planner's landings.
// Words: a site *yields* while another probe needs bytes of its jump's window: it is a breakpoint for so
// long. The *window* is the text that a jump covers; *landings* are where threads go on that come to an
// instruction inside of it.
#pragma once

#include <cstddef>
#include <libprobe/error.hpp>
#include <span>
#include <vector>

#include "control/module_watch.hpp"
#include "control/text_pass.hpp"
#include "site/site.hpp"

namespace libprobe::control {

class function_text;
class jump_planner;

/// All members under control's lock.
class site_text : public module_watch::text_keeper, private window_observer {
 public:
  site_text(module_watch& modules, function_text& functions, jump_planner& jumps) noexcept
      : modules_{modules}, functions_{functions}, jumps_{jumps} {}
  site_text(const site_text&) = delete;
  site_text& operator=(const site_text&) = delete;

  /// Puts `wanted` into the text of all sites, sorted by address, or of none, while no module can be
  /// unloaded: as write_text(). Throws std::bad_alloc and has changed nothing then.
  errc put(std::span<site::site* const> sites, site::text wanted);
  /// What to tell of a failure of put().
  static const char* refusal(errc why) noexcept;
  /// Brings sites back to `wanted` one by one, as far as it goes: as restore_text().
  errc take_back(std::span<site::site* const> sites, site::text wanted) noexcept;

  /// The site, whose jump is not there (any more), stays a breakpoint until return_to_jumps(). There is room:
  /// see reserve().
  void yield(site::site& at) noexcept;
  void reserve(std::size_t more) { yielding_.reserve(yielding_.size() + more); }
  /// The site is taken out of the table, or planned anew.
  void forget(const site::site& at) noexcept { std::erase(yielding_, &at); }
  /// Those that gave way have their jumps back, if all who needed it are gone.
  void return_to_jumps() noexcept;

  void text_is_gone(site::site& at) noexcept override;

 private:
  void window_closes(const site::site& at) noexcept override;
  void window_is_open(const site::site& at) noexcept override;
  void text_is_others() noexcept override;

  module_watch& modules_;
  function_text& functions_;
  jump_planner& jumps_;
  std::vector<site::site*> yielding_;
};

}  // namespace libprobe::control
