// Writes text while no other thread runs.
#pragma once

#include <span>

#include "os/text.hpp"

namespace libprobe::control {

/// os::exchange_text() for edits that cover several instructions, whose landings are in place: other threads
/// may be inside of what they cover. Those that can be held are, and go on in the copies. For others, and
/// where no trap would harm, the bytes at inner boundaries send them there: see hit::land_from_fault().
bool exchange_held(std::span<os::edit> edits, bool all_or_nothing) noexcept;

}  // namespace libprobe::control
