// Reading a counter. Part of the hit path.
#include "site/counter.hpp"

namespace libprobe::site {

std::uint64_t sum_of_column(const std::uint64_t* column) noexcept {
  std::uint64_t sum = 0;
  const auto rows = epoch::rows();
  for (std::size_t row = 0; row < rows; ++row)
    sum += __atomic_load_n(column + row * counter::columns, __ATOMIC_RELAXED);
  return sum;
}

void counter::move_to(std::uint64_t* column) noexcept {
  column_ = column;
  shared_->store(0 - sum_of_column(column), std::memory_order_relaxed);
}

std::uint64_t counter::total() const noexcept {
  if (shared_ == nullptr) return 0;
  const auto shared = shared_->load(std::memory_order_relaxed);
  return column_ != nullptr ? shared + sum_of_column(column_) : shared;
}

}  // namespace libprobe::site
