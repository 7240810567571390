#include "api/latency_hooks.hpp"

#include <libprobe/latency.hpp>

#include "epoch/epoch.hpp"

namespace libprobe::api {

int latency_entry(retprobe_instance& call, registers& /*regs*/) {
  call.data_as<std::uint64_t>() = arch::ticks();
  return 0;
}

void latency_return(retprobe_instance& call, registers& /*regs*/) {
  const auto ticks = arch::ticks() - call.data_as<std::uint64_t>();
  const auto& a = static_cast<const latency_attachment&>(site::pool_of(call));
  const auto row = epoch::row_of_thread;
  auto* const mine = reinterpret_cast<std::uint64_t*>(reinterpret_cast<std::uintptr_t>(a.table.get()) + row);
  auto& bucket = mine[1 + latency_buckets::bucket_of(ticks)];
  if (row != 0) {
    arch::add_own(bucket, 1);
    arch::add_own(mine[0], static_cast<std::int64_t>(ticks));
  } else {  // the row of all that have none
    __atomic_fetch_add(&bucket, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&mine[0], ticks, __ATOMIC_RELAXED);
  }
}

}  // namespace libprobe::api
