// Whether somebody traces this process.
#pragma once

namespace libprobe::os {

/// True while the calling thread has a tracer (a debugger, strace), as far as /proc tells; what was true a
/// millisecond ago counts as true, as the answer costs more than a write of text. Signal-safe.
bool is_traced() noexcept;

/// The process has no other thread, as far as /proc tells. Signal-safe.
bool is_only_thread() noexcept;

}  // namespace libprobe::os
