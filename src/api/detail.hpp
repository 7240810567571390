// The text behind last_error_detail().
#pragma once

#include <libprobe/error.hpp>
#include <string>

namespace libprobe::api {

std::string& detail_of_last_error() noexcept;

/// Remembers the text for the calling thread, and gives the error back.
std::error_code refuse(errc why, std::string detail = {}) noexcept;

}  // namespace libprobe::api
