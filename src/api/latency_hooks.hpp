// The hooks of a latency. Their code is part of the hit path.
#pragma once

#include "api/retprobe_hooks.hpp"

namespace libprobe::api {

/// A retprobe whose handlers are libprobe's own: the instance holds when the call began, each thread adds to
/// a histogram of its own, one row of a table (see site/counter.hpp).
struct return_table {
  void operator()(std::uint64_t* table) const noexcept;
};
struct latency_attachment : retprobe_attachment {
  std::unique_ptr<std::uint64_t, return_table> table;  // its memory is there as long as the process lives
};

int latency_entry(retprobe_instance& call, registers& regs);
void latency_return(retprobe_instance& call, registers& regs);

}  // namespace libprobe::api
