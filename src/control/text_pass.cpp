#include "control/text_pass.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "os/barrier.hpp"
#include "os/text.hpp"

namespace libprobe::control {

namespace {

/// Tells the hit path that what it finds in text and table need not fit together at the moment.
class text_is_changing {
 public:
  text_is_changing() noexcept { site::text_version.fetch_add(1, std::memory_order_acq_rel); }
  ~text_is_changing() { site::text_version.fetch_add(1, std::memory_order_acq_rel); }
  text_is_changing(const text_is_changing&) = delete;
  text_is_changing& operator=(const text_is_changing&) = delete;
};

}  // namespace

errc write_breakpoints(std::span<site::site* const> sites) {
  if (sites.empty()) return errc::ok;
  std::vector<os::edit> edits(sites.size());
  std::transform(sites.begin(), sites.end(), edits.begin(), [](const site::site* at) {
    return os::edit{at->address, at->plan.original, arch::breakpoint, sizeof arch::breakpoint,
                    os::edit::outcome::pending};
  });
  const text_is_changing mark;
  const bool good = os::write_text(edits, true);
  os::synchronize_cores();
  // Also after a failure: a breakpoint that could not be taken back must keep its site.
  for (std::size_t i = 0; i < sites.size(); ++i) {
    sites[i]->armed = edits[i].done == os::edit::outcome::written;
  }
  if (good) return errc::ok;
  const bool differs = std::any_of(edits.begin(), edits.end(), [](const os::edit& e) {
    return e.done == os::edit::outcome::differs || e.done == os::edit::outcome::gone;
  });
  return differs ? errc::text_changed : errc::text_not_writable;
}

errc restore_text(std::span<site::site* const> sites) noexcept {
  if (sites.empty()) return errc::ok;
  errc answer = errc::ok;
  const text_is_changing mark;
  std::array<os::edit, 256> edits;
  for (std::size_t at = 0; at < sites.size();) {
    const auto group = sites.subspan(at, std::min(edits.size(), sites.size() - at));
    const auto used = std::span{edits}.first(group.size());
    std::transform(group.begin(), group.end(), used.begin(), [](const site::site* s) {
      return os::edit{s->address, arch::breakpoint, s->plan.original, sizeof arch::breakpoint,
                      os::edit::outcome::pending};
    });
    os::write_text(used, false);
    for (std::size_t i = 0; i < group.size(); ++i) {
      group[i]->armed = used[i].done == os::edit::outcome::refused;
      if (group[i]->armed) answer = errc::text_not_writable;
    }
    at += group.size();
  }
  os::synchronize_cores();
  return answer;
}

}  // namespace libprobe::control
