// The register file of a CPU that libprobe has no port to: for building what depends on none (arch/null).
#pragma once

#include <cstddef>
#include <cstdint>

namespace libprobe {

/// No handler ever gets one.
struct registers {
  [[nodiscard]] std::uintptr_t ip() const noexcept { return 0; }
  [[nodiscard]] std::uintptr_t sp() const noexcept { return 0; }
  void set_ip(std::uintptr_t /*value*/) noexcept {}
  void set_ip(const void* /*value*/) noexcept {}
  template <class T>
  [[nodiscard]] T argument(std::size_t /*n*/) const noexcept {
    return {};
  }
  template <class T>
  void set_argument(std::size_t /*n*/, T /*value*/) noexcept {}
  template <class T>
  [[nodiscard]] T return_value() const noexcept {
    return {};
  }
  template <class T>
  void set_return_value(T /*value*/) noexcept {}
  void leave_function() noexcept {}
};

}  // namespace libprobe
