// All of libprobe, and its first chapter.
//
// THE MODEL. A *site* is one instruction of the running program that is probed. A jump (or, where none fits,
// a breakpoint) stands there; a thread that comes to it makes a *hit*: libprobe runs the *handlers* of all
// probes of the site, in order of registration, then the instruction itself, and the program goes on. A
// *probe* is an object of yours, of one of the *kinds* below, that says where and what; it must stay until it
// is removed. Removing is two steps: it is disarmed, so that no handler begins any more, and then one waits
// until none is running. That wait is the *grace period*. It is as long as the longest handler that is
// running, and many removals share one: unregister_KINDs(), batch, or unregister_KIND_fast() and one
// commit_probes().
//
// THE SMALLEST PROGRAM.
//
// ```cpp
// #include <cstdlib>
// #include <libprobe/libprobe.hpp>
//
// int main() {
//   libprobe::probe p{.at = "libc.so.6:getenv",
//                     .pre_handler = [](libprobe::probe&, libprobe::registers&) { return 0; }};
//   if (libprobe::register_probe(p)) return 1;  // last_error_detail() tells why
//   std::getenv("HOME");
//   libprobe::unregister_probe(p);              // from here on no handler runs
//   return hits(p) == 1 ? 0 : 1;
// }
// ```
//
// THE KINDS. All have the same operations; each kind's header tells them in full.
//
//   probe        any instruction          handlers before and after it, and when it faults
//   jprobe       a function's entry       a handler with the function's own arguments
//   retprobe     a function's calls       handlers at entry and return, with data for each call
//   replacement  a function               another function in its stead, which may call the original
//   counter      any instruction          a count, no handler
//   latency      a function's calls       a histogram of their durations, no handler
//
// Over them: on_entry(), on_return() and replace() take callables with the function's own types (typed.hpp),
// profiler (profile.hpp), fixtures for tests (testing.hpp, which is not included here).
//
// TWO CONTEXTS. *Ordinary context*: a plain function call on the thread's own stack; all is allowed. *Signal
// context*: as in a signal handler, in the middle of whatever the thread was doing; async-signal-safe calls
// only, unless you know that the probed place holds no lock.
//
//   pre_handler, post_handler, fault_handler, entry_handler, profile_options::value   signal context
//   jprobe::entry, retprobe::handler, unwind_handler, replacement::entry, callables   ordinary context
//
// All of these but replacement::entry (and the callable of replace()) are *handlers*: what the thread hits
// while one runs has no handler and counts in nmissed(), and a commit waits for it. For calls of a
// replacement the commit that removes it waits.
//
// WHAT MAY BE CALLED WHERE. Everything in libprobe may be called by any thread, also while others do the
// same.
//
//                                      in a handler of      in a handler of      waits for
//                                      ordinary context,    signal context,
//                                      in a replacement     in a signal handler
//   register_*                         yes                  it allocates (1)     other control calls (2)
//   enable_*, disable_*                yes                  it allocates (1)     other control calls
//   unregister_*_fast                  yes                  it locks (1)         other control calls
//   unregister_*                       only queues          only queues (1)      a grace period
//   commit_probes, batch::commit       would_deadlock (3)   would_deadlock (3)   a grace period
//   destructor of a registered probe   aborts               aborts               a grace period
//   hits, nmissed, address_of,
//     original, current_*, registers   yes                  yes                  nothing
//   list_*, function_at, latencies_of,
//     last_error_detail, typed layer,
//     profiler                         no                   no                   other control calls (4)
//
// (1) Allowed in a handler where the interrupted code is not inside malloc or libprobe. A signal handler that
//     interrupts libprobe itself may call it too, but what it interrupted in malloc it would wait for.
// (2) Control calls are those that change probes. None holds a lock while it waits for a handler, so none of
//     them ever waits for a grace period but those of which the table says so.
// (3) In a handler, or in a replacement. batch::commit() then has removed and added all the same.
// (4) And, to remove, for a grace period.
//
// ERRORS are std::error_code, one errc for each reason; last_error_detail() has more words. A refused call
// has changed nothing. Nothing throws but the typed layer, and what says so for want of memory. OWNERSHIP.
// Probe objects are the caller's and stay where they are; what they point to, too. Their one member state_ is
// libprobe's. The kernel's words for all this: Documentation/trace/kprobes.rst.
#pragma once

#include <libprobe/batch.hpp>
#include <libprobe/error.hpp>
#include <libprobe/functions.hpp>
#include <libprobe/kinds.hpp>
#include <libprobe/listing.hpp>
#include <libprobe/location.hpp>
#include <libprobe/profile.hpp>
#include <libprobe/registers.hpp>
#include <libprobe/registration.hpp>
#include <libprobe/typed.hpp>
