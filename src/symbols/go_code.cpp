#include "symbols/go_code.hpp"

#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::symbols {

bool may_be_go_code(const module& owner, std::uintptr_t address) {
  if (!owner.has_go_code) return false;
  // Go's linker lays its own functions out between these two, and leaves what is C's outside.
  const auto first = owner.symbols().named("runtime.text");
  const auto behind = owner.symbols().named("runtime.etext");
  if (first.size() != 1 || behind.size() != 1 || first.front()->start >= behind.front()->start) return true;
  return address >= first.front()->start && address < behind.front()->start;
}

}  // namespace libprobe::symbols
