// The hooks of a latency. Their code is part of the hit path.
#pragma once

#include "api/retprobe_hooks.hpp"

namespace libprobe::api {

/// A retprobe whose handlers are libprobe's own: the instance holds when the call began, each thread adds to
/// a histogram of its own, one row of a table (see site/counter.hpp).
struct latency_attachment : retprobe_attachment {
  std::uint64_t* table = nullptr;  // for as long as the process lives
};

int latency_entry(retprobe_instance& call, registers& regs);
void latency_return(retprobe_instance& call, registers& regs);

}  // namespace libprobe::api
