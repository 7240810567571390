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

std::optional<extent> text_around(std::uintptr_t address) {
  const auto now = current_modules();
  const module* owner = now->find(address);
  if (owner == nullptr) return function_at(address);
  const symbol_table& table = owner->symbols();
  if (const auto whole = table.around(address); whole.end != 0) return extent{whole.start, whole.end};
  auto found = function_at(address);
  const auto unsized = table.unsized_before(address);
  const bool is_label = unsized.which != nullptr && unsized.which->what == symbol::kind::label;
  if (!found || !is_label || found->start != unsized.which->start || found->end != unsized.end) return found;
  const auto run = table.labels_around(address);
  return run.end == 0 ? found : extent{run.start, run.end};
}

std::vector<code_start> starts_in(const extent& where) {
  const auto now = current_modules();
  const module* owner = now->find(where.start);
  std::vector<code_start> found;
  if (owner == nullptr) return found;
  const auto all = owner->symbols().all();
  for (auto at = std::ranges::lower_bound(all, where.start, {}, &symbol::start);
       at != all.end() && at->start < where.end; ++at) {
    const bool typed = at->what != symbol::kind::label;
    if (found.empty() || found.back().address != at->start) {
      found.push_back({at->start, typed});
    } else {
      found.back().typed = found.back().typed || typed;
    }
  }
  return found;
}

std::vector<data_range> data_in(const extent& where) {
  const auto now = current_modules();
  const module* owner = now->find(where.start);
  std::vector<data_range> found;
  if (owner == nullptr) return found;
  for (const auto& one : owner->symbols().data_in({where.start, where.end}))
    found.push_back({one.start, one.end, one.relocated});
  return found;
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
  const symbol* found = table.nearest(address);
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
