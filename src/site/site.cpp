// The data that hit and control share. Part of the hit path.
#include "site/site.hpp"

#include "site/past_breakpoints.hpp"
#include "site/thread.hpp"

namespace libprobe::site {

constinit counted_table<site> sites;
constinit table<chunk> chunks;
constinit table<landing> landings;
constinit table<const char> hop_pages;
constinit atomic<std::uint64_t> text_version{0};
__thread thread_state self __attribute__((tls_model("initial-exec")));
constinit std::uintptr_t errno_offset = 0;
constinit std::uintptr_t resume_unwinding = 0;
constinit past_breakpoints past;

}  // namespace libprobe::site
