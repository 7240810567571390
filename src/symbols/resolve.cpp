// From a location to an address.
#include "symbols/candidates.hpp"
#include "symbols/follow.hpp"
#include "symbols/modules.hpp"
#include "symbols/query.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::symbols {

result<std::uintptr_t> resolve(const location& where, std::string& detail) {
  switch (where.what()) {
    case location::kind::address:
      return where.address();
    case location::kind::function:
      if (where.address() == 0) break;
      return follow(*current_modules(), where.address());
    case location::kind::name: {
      const auto wanted = parse(where.name(), detail);
      if (!wanted) return wanted.error();
      if (wanted->symbol.empty()) return wanted->offset;
      return find_name(*current_modules(), *wanted, detail);
    }
    case location::kind::none:
      break;
  }
  detail = "no function, address or name (a virtual member function has no code of its own)";
  return errc::malformed_location;
}

}  // namespace libprobe::symbols
