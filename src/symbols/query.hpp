// "libfoo.so.1:symbol+4" taken apart.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "os/result.hpp"

namespace libprobe::symbols {

struct query {
  std::string module;         // empty: any
  std::string symbol;         // empty: a plain address
  std::string version;        // "name@VERSION"; empty: the default one
  std::uintptr_t offset = 0;  // from the symbol; or the address itself
};

/// errc::malformed_location for everything that cannot be the name of a place, with the reason in `detail`.
result<query> parse(std::string_view text, std::string& detail);

}  // namespace libprobe::symbols
