// Several copies of this library in one process: only one of them may change text and signal actions.
//
// Floor: control, on symbols and os. Knows nothing else of control.
// Words: a *copy* is another libprobe in the same process, linked into another module; it *claims* the
// process before it changes anything, and is *at work* from then on.
#pragma once

#include <libprobe/error.hpp>
#include <string>

namespace libprobe::control {

/// Makes this copy the one that is at work. errc::another_copy: another one is, and `detail` says in which
/// module. Under the registry's lock. Waits for other copies that are in here at the same moment, and for the
/// loader; for nothing else.
errc claim_process(std::string& detail);
/// After claim_process(): nothing has come of it.
void give_process_up() noexcept;

/// What a copy that is at work has put in place stays for ever, so the module in which it lies must, too.
/// Once, without any lock held: asks the loader.
void stay_loaded() noexcept;

}  // namespace libprobe::control
