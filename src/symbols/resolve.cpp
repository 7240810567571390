// From a location to an address.
#include <fmt/format.h>

#include "symbols/candidates.hpp"
#include "symbols/follow.hpp"
#include "symbols/modules.hpp"
#include "symbols/query.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::symbols {

namespace {

result<std::uintptr_t> find(const std::string& name, std::string& detail) {
  const auto wanted = parse(name, detail);
  if (!wanted) return wanted.error();
  if (wanted->symbol.empty()) return wanted->offset;
  return find_name(*current_modules(), *wanted, detail);
}

/// An address that somebody has cast to const char*: what lay there was copied as if it were a name.
bool is_code(std::uintptr_t address) {
  return address != 0 && probeable(address) != errc::not_executable && function_at(address).has_value();
}

}  // namespace

result<std::uintptr_t> resolve(const location& where, std::string& detail) {
  switch (where.what()) {
    case location::kind::address:
      return where.address();
    case location::kind::function:
      if (where.address() == 0) break;
      return follow(*current_modules(), where.address());
    case location::kind::name: {
      auto found = find(where.name(), detail);
      const auto from = where.name_lay_at();
      if (found || !is_code(from)) return found;
      detail = fmt::format(
          "its name is the code at {:#x}: an address is given as const void*, not as const char*, which is a "
          "name",
          from);
      return errc::malformed_location;
    }
    case location::kind::unborn:
      detail =
          "it is not constructed yet: a global object that is registered before its own initialisation, from "
          "a "
          "constructor or another file's globals; make it a function's static one, or constinit";
      return errc::malformed_location;
    case location::kind::none:
      break;
  }
  detail = "no function, address or name (a virtual member function has no code of its own)";
  return errc::malformed_location;
}

}  // namespace libprobe::symbols
