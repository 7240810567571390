#include "control/site_text.hpp"

#include <algorithm>
#include <utility>

#include "control/jump_planner.hpp"
#include "control/shortcuts.hpp"

namespace libprobe::control {

const char* site_text::refusal(errc why) noexcept {
  if (why == errc::text_changed) return "the text to be patched is not what was decoded";
  return why == errc::out_of_memory ? "no memory to write the program's text"
                                    : "the kernel refuses to write the program's text";
}

errc site_text::put(std::span<site::site* const> sites, site::text wanted) {
  errc answer = errc::ok;
  const bool known = modules_.while_none_leaves([&] { answer = write_text(sites, wanted, *this); });
  return known ? answer : errc::out_of_memory;
}

errc site_text::take_back(std::span<site::site* const> sites, site::text wanted) noexcept {
  errc answer = errc::ok;
  if (sites.empty()) return answer;
  const bool known = modules_.while_none_leaves([&] { answer = restore_text(sites, wanted, *this); });
  return known ? answer : errc::out_of_memory;
}

void site_text::yield(site::site& at) noexcept {
  at.yields = true;
  set_body(at);
  yielding_.push_back(&at);
}

void site_text::return_to_jumps() noexcept {
  auto all = std::move(yielding_);  // modules may go meanwhile: then these are gone
  std::erase_if(all, [this](site::site* at) {
    if (at->gone) return true;
    for (std::size_t i = 1; i < at->jump->shape.window; ++i) {
      if (site::sites.find(at->address + i) != nullptr) return false;
    }
    at->yields = false;
    set_body(*at);
    // Refused: it stays a breakpoint, which is as good.
    if (at->now != site::text::original) take_back({&at, 1}, site::text::jump);
    return true;
  });
  std::erase_if(all, [](const site::site* at) { return at->gone; });
  yielding_ = std::move(all);
}

void site_text::text_is_gone(site::site& at) noexcept {
  if (at.jump != nullptr) jumps_.set_landings(at, false);
  if (at.yields) forget(at);
  at.yields = false;
  at.now = site::text::original;
  at.gone = true;
}

void site_text::window_closes(const site::site& at) noexcept { jumps_.set_landings(at, true); }
void site_text::window_is_open(const site::site& at) noexcept { jumps_.set_landings(at, false); }
void site_text::text_is_others() noexcept { functions_.forget(); }

}  // namespace libprobe::control
