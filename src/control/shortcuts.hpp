// What hits find ready at a site so that they need not walk its list, and the list itself as control sees it.
//
// Floor: control, on site, epoch and arch. Knows nothing else of control. Whoever changes a site's list, its
// attachments or whether its jump may stand calls these, under control's lock.
// Words: the *body* is code that goes on from the displaced instruction; a *detour* is the code that a jump
// leads to.
#pragma once

#include <cstdint>

#include "site/site.hpp"

namespace libprobe::control {

/// The list or an attachment of it has changed: is it one alone, that hits may call without a walk?
void set_only(site::site& at) noexcept;

/// The displaced instruction and on: behind a jump the copies of all that it covers. After the site's state
/// or its list has changed.
void set_body(site::site& at) noexcept;

/// The code by which a replaced function's original is called; 0: none.
std::uintptr_t original_of(const site::site& at) noexcept;

/// Has the site's detour save what attachments may touch, in one store: hits read it meanwhile.
void set_saved_vectors(const site::site& at, arch::vector_use wanted) noexcept;

/// Some attachment there is neither disabled nor removed.
bool is_wanted(const site::site& at) noexcept;

/// Takes all removed attachments out of the site's list. A reader that stands on one still finds its way on.
void unlink_removed(site::site& at) noexcept;

}  // namespace libprobe::control
