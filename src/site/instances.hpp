// A retprobe's attachment with its pool of instances: one for each call that it follows.
#pragma once

#include <cstring>
#include <libprobe/retprobe.hpp>

#include "site/claims.hpp"
#include "site/look_limit.hpp"
#include "site/site.hpp"
#include "site/thread.hpp"

namespace libprobe::site {

struct instance_pool : attachment {
  int (*entered)(retprobe_instance&, registers&) = nullptr;  // non-zero: leave this call alone
  void (*returned)(retprobe_instance&, registers&) = nullptr;
  void (*abandoned)(instance_pool&, retprobe_instance&) = nullptr;  // null: nobody wants to know
  std::size_t stride = 0;                                           // bytes from instance to instance
  std::byte* memory = nullptr;                                      // allocated with the pool
  claims in_use;
  look_limit of_ended_threads;

  /// An instance with its data cleared, noted as taken by this thread; null if all are in use. Signal-safe.
  retprobe_instance* take() noexcept {
    const auto number = in_use.take();
    if (number == claims::none) return nullptr;
    auto* instance = reinterpret_cast<retprobe_instance*>(memory + number * stride);
    instance->state_.number = number;
    instance->state_.pool = this;
    self.taken = instance;
    auto* data = static_cast<volatile std::uint64_t*>(instance->data());  // volatile: no call of memset
    for (std::size_t i = 0; i < (stride - sizeof *instance) / sizeof *data; ++i) data[i] = 0;
    instance->state_.next_in_call = nullptr;
    return instance;
  }
  /// Signal-safe. After it, the pool may be freed at the end of a grace period: it pairs with in_use.any()
  /// before.
  void give(retprobe_instance& instance) noexcept { in_use.give(instance.state_.number); }
};

inline instance_pool& pool_of(retprobe_instance& instance) noexcept {
  return *static_cast<instance_pool*>(instance.state_.pool);
}

}  // namespace libprobe::site
