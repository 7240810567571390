// Appends machine code at a known address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <span>

namespace libprobe::arch {

/// True if the distance fits a rel32.
inline bool fits(std::int64_t distance) noexcept {
  return distance >= std::numeric_limits<std::int32_t>::min() &&
         distance <= std::numeric_limits<std::int32_t>::max();
}

class code_writer {
 public:
  code_writer(std::span<std::uint8_t> out, std::uintptr_t base) noexcept : out_{out}, base_{base} {}

  void bytes(std::initializer_list<std::uint8_t> values) noexcept {
    for (const auto value : values) out_[at_++] = value;
  }
  void bytes(const std::uint8_t* values, std::size_t count) noexcept {
    std::memcpy(&out_[at_], values, count);
    at_ += count;
  }
  template <class T>
  void word(T value) noexcept {
    std::memcpy(&out_[at_], &value, sizeof value);
    at_ += sizeof value;
  }
  void jump(std::uintptr_t target) noexcept {
    const auto distance = static_cast<std::int64_t>(target - (address() + 5));
    if (fits(distance)) {
      bytes({0xe9});
      word(static_cast<std::int32_t>(distance));
    } else {
      bytes({0xff, 0x25, 0, 0, 0, 0});  // jmp *0(%rip)
      word(static_cast<std::uint64_t>(target));
    }
  }
  void patch(std::size_t offset, std::uint8_t value) noexcept { out_[offset] = value; }
  void skip_to(std::size_t offset) noexcept { at_ = offset; }
  [[nodiscard]] std::uint8_t offset() const noexcept { return static_cast<std::uint8_t>(at_); }
  [[nodiscard]] std::uintptr_t address() const noexcept { return base_ + at_; }

 private:
  std::span<std::uint8_t> out_;
  std::uintptr_t base_;
  std::size_t at_ = 0;
};

}  // namespace libprobe::arch
