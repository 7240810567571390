// Writes breakpoints and jumps and takes them back: for any number of sites, once per page, at most three
// core synchronisations.
#pragma once

#include <libprobe/error.hpp>
#include <span>

#include "site/site.hpp"

namespace libprobe::control {

/// What the writer tells of: a window is about to be entered by no thread but through its landings, or is so
/// no more; or text is not what it was decoded from.
struct window_observer {
  virtual void window_closes(const site::site& at) noexcept = 0;
  virtual void window_is_open(const site::site& at) noexcept = 0;
  /// Somebody else's bytes were met.
  virtual void text_is_others() noexcept = 0;

 protected:
  ~window_observer() = default;
};

/// Turns the text of all sites, sorted by address, to `wanted`: original, breakpoint, or jump, which means
/// a breakpoint where a site has no jump. All or none.
/// errc::text_changed where other bytes stand than were planned for, errc::text_not_writable where the kernel
/// refuses. Throws std::bad_alloc and has changed nothing then.
errc write_text(std::span<site::site* const> sites, site::text wanted, window_observer& observer);

/// The same for a site at a time, as far as it goes, and never out of memory: sites whose memory is gone or
/// holds somebody else's bytes count as original. errc::text_not_writable if one had to stay as it was, or on
/// its way.
errc restore_text(std::span<site::site* const> sites, site::text wanted, window_observer& observer) noexcept;

}  // namespace libprobe::control
