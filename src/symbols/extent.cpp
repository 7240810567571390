// Where functions start and end, and what addresses are called.
#include <algorithm>

#include "os/maps.hpp"
#include "symbols/cxx_name.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"
#include "symbols/symbols.hpp"
#include "symbols/unwind_table.hpp"

namespace libprobe::symbols {

std::optional<extent> function_at(std::uintptr_t address) {
  const auto now = current_modules();
  const module* owner = now->find(address);
  if (owner == nullptr) return by_unwind_table(address);
  const symbol_table& table = owner->symbols();
  if (const symbol* found = table.covering(address)) return extent{found->start, found->start + found->size};
  std::optional<extent> entry;
  while_loaded(*owner, [&] { entry = by_unwind_table(address); });  // read in its memory
  const auto unsized = table.unsized_before(address);
  if (unsized.which == nullptr) return entry;
  const extent until_next{unsized.which->start, unsized.end};
  if (!entry) return until_next;
  // A label may be anywhere in its function; a function's symbol starts it.
  if (unsized.which->what == symbol::kind::label) return entry;
  return extent{std::max(entry->start, until_next.start), std::min(entry->end, until_next.end)};
}

bool in_module(std::uintptr_t address) { return current_modules()->find(address) != nullptr; }

description describe(std::uintptr_t address) {
  const auto now = current_modules();
  description text;
  const module* owner = now->find(address);
  if (owner == nullptr) {
    text.offset = address;
    if (const auto mapped = os::mapping_at(address)) {
      text.module = mapped->path.substr(mapped->path.find_last_of('/') + 1);
      text.offset = address - mapped->start + mapped->offset;
    }
    return text;
  }
  return describe(*owner, address);
}

description describe(const module& owner, std::uintptr_t address) {
  description text;
  text.module = owner.file_name;
  const symbol_table& table = owner.symbols();
  const symbol* found = table.covering(address);
  if (found == nullptr) found = table.unsized_before(address).which;
  if (found == nullptr) {
    text.offset = address - owner.bias;
    return text;
  }
  text.symbol = demangled(found->name);
  text.offset = address - found->start;
  return text;
}

std::uint64_t generation() {
  const load_counts counts = current_counts();
  return counts.added + counts.removed;
}

}  // namespace libprobe::symbols
