// Looking for a number that is free, where the thread's own is not. Part of the hit path.
#include "site/claims.hpp"

namespace libprobe::site {

std::uint32_t claims::search(std::uint32_t first) noexcept {
  const auto number = search(first, size_);
  return number != none ? number : search(0, first);
}

std::uint32_t claims::search(std::uint32_t from, std::uint32_t to) noexcept {
  for (auto i = from; i < to;) {
    if (i % group == 0 && group_at(i) == all_claimed) {
      i += group;
    } else if (claim(i)) {
      return i;
    } else {
      ++i;
    }
  }
  return none;
}

}  // namespace libprobe::site
