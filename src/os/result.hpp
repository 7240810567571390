// A value or the reason why there is none.
#pragma once

#include <libprobe/error.hpp>
#include <optional>
#include <utility>

namespace libprobe {

template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : value_{std::move(value)} {}   // NOLINT(google-explicit-constructor)
  result(errc error) noexcept : error_{error} {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const noexcept { return value_.has_value(); }
  [[nodiscard]] errc error() const noexcept { return error_; }
  T& operator*() noexcept { return *value_; }
  const T& operator*() const noexcept { return *value_; }
  T* operator->() noexcept { return &*value_; }
  const T* operator->() const noexcept { return &*value_; }

 private:
  std::optional<T> value_;
  errc error_ = errc::ok;
};

}  // namespace libprobe
