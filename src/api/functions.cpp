#include <fnmatch.h>

#include <algorithm>
#include <libprobe/functions.hpp>
#include <mutex>

#include "control/registry.hpp"
#include "site/thread.hpp"
#include "symbols/cxx_name.hpp"
#include "symbols/follow.hpp"
#include "symbols/lookup.hpp"
#include "symbols/modules.hpp"
#include "symbols/query.hpp"
#include "symbols/symbol_table.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

namespace {

bool fits(const std::string& pattern, const std::string& name) {
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

bool is_asked_for(const symbols::module& owner, const std::string& pattern) {
  // The vDSO's names are those of libc; nothing in it can be probed.
  if (pattern.empty()) return owner.what != symbols::module::kind::vdso;
  return owner.is_called(pattern) || fits(pattern, owner.soname) || fits(pattern, owner.file_name);
}

bool is_split_off(std::string_view name) { return name.find(".cold") != std::string_view::npos; }

void add_fitting(const symbols::module& owner, const std::string& pattern, std::vector<function_info>& into) {
  for (const symbols::symbol& one : owner.symbols().all()) {
    if (one.what == symbols::symbol::kind::label || is_split_off(one.name)) continue;
    auto name = symbols::demangled(one.name);
    if (!fits(pattern, std::string{one.name}) && !fits(pattern, name) &&
        !fits(pattern, symbols::cxx_name::split(name).name)) {
      continue;
    }
    const auto address = symbols::code_of(owner, one);
    if (address == 0) continue;
    auto size = one.size;
    if (size == 0 || address != one.start) {
      const auto code = symbols::function_at(address);
      size = code ? code->end - code->start : 0;
    }
    into.push_back({std::move(name), owner.file_name, reinterpret_cast<const void*>(address), size});
  }
}

}  // namespace

std::vector<function_info> list_functions(std::string_view pattern) {
  const site::quiet no_handlers;
  const symbols::lookup no_fork{control::registry::instance().lookups()};
  std::vector<function_info> found;
  std::string detail;
  const auto wanted = symbols::parse(pattern, detail);
  if (!wanted || wanted->symbol.empty() || wanted->offset != 0) return found;
  const auto now = symbols::current_modules();
  for (const auto& owner : now->modules) {
    if (is_asked_for(*owner, wanted->module)) add_fitting(*owner, wanted->symbol, found);
  }
  // Of aliases a module's table has the better known name first.
  std::ranges::stable_sort(found, {}, &function_info::address);
  const auto same = [](const auto& one, const auto& other) { return one.address == other.address; };
  found.erase(std::unique(found.begin(), found.end(), same), found.end());
  return found;
}

std::optional<function_info> function_at(const void* address) {
  const site::quiet no_handlers;
  const symbols::lookup no_fork{control::registry::instance().lookups()};
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (!symbols::in_module(at)) return std::nullopt;
  auto told = symbols::describe(at);
  const auto code = symbols::function_at(at);
  const auto start = !told.symbol.empty() ? at - told.offset : code ? code->start : at;
  return function_info{std::move(told.symbol), std::move(told.module), reinterpret_cast<const void*>(start),
                       code && code->start == start ? code->end - start : 0};
}

}  // namespace libprobe
