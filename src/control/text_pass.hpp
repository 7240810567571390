// Writes breakpoints and takes them back: for any number of sites, once per page, one core synchronisation
// each.
#pragma once

#include <libprobe/error.hpp>
#include <span>

#include "site/site.hpp"

namespace libprobe::control {

/// Arms the sites, sorted by address: all or none. errc::text_changed where other bytes stand than were
/// planned for, errc::text_not_writable where the kernel refuses. Throws std::bad_alloc and has changed
/// nothing then.
errc write_breakpoints(std::span<site::site* const> sites);

/// Puts the original bytes back wherever the breakpoint still stands, and marks those sites as not armed.
/// Sites whose memory is gone or holds somebody else's bytes are not armed either. errc::text_not_writable if
/// one had to stay armed. Cannot run out of memory.
errc restore_text(std::span<site::site* const> sites) noexcept;

}  // namespace libprobe::control
