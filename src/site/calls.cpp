// Part of the hit path.
#include "site/calls.hpp"

namespace libprobe::site {

namespace {

constinit atomic<std::uint32_t> next_free[arch::return_slot_count]{};

}  // namespace

constinit followed_call calls[arch::return_slot_count]{};
constinit free_list free_calls{next_free, arch::return_slot_count};

}  // namespace libprobe::site
