#include "control/counter_store.hpp"

#include <mutex>
#include <vector>

#include "control/registry.hpp"
#include "epoch/epoch.hpp"
#include "os/zeros.hpp"
#include "site/counter.hpp"

namespace libprobe::control {

namespace {

// Never destroyed: probes of static storage duration count to the end.
std::vector<std::uint64_t*>& free_columns() {
  static auto* const one = new std::vector<std::uint64_t*>;
  return *one;
}

void give_column(std::uint64_t* column) {
  const std::lock_guard guard{registry::instance().stores()};
  free_columns().push_back(column);  // has the room: it was there before
}

}  // namespace

counter_column take_column() noexcept {
  const std::lock_guard guard{registry::instance().stores()};
  try {
    auto& free = free_columns();
    if (free.empty()) {
      static std::size_t made = 0;
      free.reserve(made + site::counter::columns);
      void* const block = os::map_zeros(epoch::most_rows() * epoch::row_bytes);
      if (block == nullptr) return {nullptr, nullptr};
      made += site::counter::columns;
      for (std::size_t i = site::counter::columns; i-- > 0;)
        free.push_back(static_cast<std::uint64_t*>(block) + i);
    }
    counter_column taken{free.back(), give_column};
    free.pop_back();
    return taken;
  } catch (const std::bad_alloc&) {
    return {nullptr, nullptr};
  }
}

}  // namespace libprobe::control
