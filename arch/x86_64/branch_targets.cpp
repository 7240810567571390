// Looks at each byte of many functions. Stores of bytes may change anything, for all that the compiler knows:
// what does not change is in variables of their own.
#include <algorithm>
#include <cstring>

#include "port/insn.hpp"

namespace libprobe::arch {

namespace {

constexpr std::size_t longest_short_branch = 127;  // behind a branch with a one-byte distance

/// A branch with a one-byte distance may have this opcode.
constexpr bool may_be_short_branch(std::uint8_t byte) noexcept {
  return (byte & 0xf0) == 0x70 || (byte & 0xfc) == 0xe0 || byte == 0xeb;
}

}  // namespace

/// Those with a four-byte distance; the short ones are looked for when they are asked for.
branch_targets::branch_targets(std::span<const std::uint8_t> function, std::size_t behind) {
  const auto inside = function.size();
  const auto size = inside + behind;
  targets_.resize(size + 1);  // all that leads elsewhere is noted there
  const std::uint8_t* const bytes = function.data();
  std::uint8_t* const targets = targets_.data();
  for (std::size_t end = 5; end <= inside; ++end) {
    std::int32_t distance = 0;
    std::memcpy(&distance, bytes + end - 4, sizeof distance);
    targets[std::min(size, end + static_cast<std::size_t>(distance))] = 1;
  }
}

std::uint32_t branch_targets::behind(std::span<const std::uint8_t> function, std::size_t offset,
                                     std::size_t length) const noexcept {
  std::uint32_t found = 0;
  for (std::size_t i = 1; i < length && offset + i + 1 < targets_.size(); ++i)
    found |= std::uint32_t{targets_[offset + i]} << i;
  const std::uint8_t* const bytes = function.data();
  const auto last = std::min(function.size(), offset + length + longest_short_branch + 1);
  const auto first = offset > longest_short_branch ? offset - longest_short_branch : 0;
  for (auto end = std::max<std::size_t>(2, first); end <= last; ++end) {
    const auto behind = end + static_cast<std::size_t>(static_cast<std::int8_t>(bytes[end - 1])) - offset;
    // Few are: one question for both is predicted better than two.
    const auto is_one = static_cast<unsigned>(may_be_short_branch(bytes[end - 2]));
    const auto leads_there = static_cast<unsigned>(behind - 1 < length - 1);
    if ((is_one & leads_there) != 0) found |= 1U << behind;
  }
  return found;
}

}  // namespace libprobe::arch
