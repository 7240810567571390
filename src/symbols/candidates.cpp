#include "symbols/candidates.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "symbols/cxx_name.hpp"
#include "symbols/follow.hpp"
#include "symbols/lookup.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::symbols {
namespace {

struct candidate {
  const module* owner;
  const symbol* which;
  std::uintptr_t address;
};
using candidates = std::vector<candidate>;

using module_list = std::vector<const module*>;

// Other modules bind to it, or the program's own objects do.
bool is_public(const candidate& one) {
  return one.which->exported || (one.which->global && one.owner->what == module::kind::program);
}

bool is_label(const candidate& one) { return one.which->what == symbol::kind::label; }

void keep_one_per_address(candidates& list) {
  std::ranges::stable_sort(list, {}, &candidate::address);
  const auto same = [](const candidate& one, const candidate& other) { return one.address == other.address; };
  list.erase(std::unique(list.begin(), list.end(), same), list.end());
}

template <class Predicate>
candidates only(const candidates& list, Predicate predicate) {
  candidates some;
  std::ranges::copy_if(list, std::back_inserter(some), predicate);
  return some;
}

// Of one module's versions of a name the default one counts, unless the query asks for another.
candidates by_linker_name(const module_list& modules, const query& wanted) {
  candidates list;
  for (const module* owner : modules) {
    auto found = owner->symbols().named(wanted.symbol);
    if (!wanted.version.empty()) {
      std::erase_if(found, [&](const symbol* one) { return one->version != wanted.version; });
    } else if (std::ranges::any_of(found,
                                   [](const symbol* one) { return one->exported && !one->hidden_version; })) {
      std::erase_if(found, [](const symbol* one) { return one->hidden_version; });
    }
    for (const symbol* one : found) list.push_back({owner, one, 0});
  }
  return list;
}

void find_code(candidates& list) {
  for (candidate& one : list) one.address = code_of(*one.owner, *one.which);
  std::erase_if(list, [](const candidate& one) { return one.address == 0; });
  keep_one_per_address(list);
}

// Where several modules export a name: the definition that the dynamic linker uses.
void keep_bound_one(const snapshot& now, candidates& list) {
  if (list.size() < 2 || !std::ranges::all_of(list, [](const candidate& one) { return one.which->exported; }))
    return;
  const symbol& any = *list.front().which;
  if (std::ranges::any_of(list, [&](const candidate& one) { return one.which->name != any.name; })) return;
  const std::string name{any.name};
  void* const bound = [&name] {
    const loader_call may_wait;
    return ::dlsym(RTLD_DEFAULT, name.c_str());
  }();
  if (bound == nullptr) return;
  const std::uintptr_t address = follow(now, reinterpret_cast<std::uintptr_t>(bound));
  const auto chosen = std::ranges::find(list, address, &candidate::address);
  if (chosen != list.end()) list = {*chosen};
}

// Public ones before local ones, and of several public ones the one that is bound.
void keep_first_tier(const snapshot& now, candidates& list) {
  if (auto first = only(list, is_public); !first.empty()) list = std::move(first);
  find_code(list);
  keep_bound_one(now, list);
}

// A constructor or destructor is compiled several times, as C1, C2, ...: the complete object's is the one
// that people mean. The mangled names of candidates with one demangled name differ only in that digit.
void keep_complete_object(candidates& list) {
  constexpr std::string_view by_preference = "1240";
  if (list.empty()) return;
  const std::string_view any = list.front().which->name;
  const auto other = std::ranges::find_if(list, [&](const candidate& one) { return one.which->name != any; });
  if (other == list.end() || other->which->name.size() != any.size()) return;
  const auto digit =
      static_cast<std::size_t>(std::ranges::mismatch(any, other->which->name).in1 - any.begin());
  if (digit == 0 || std::string_view{"CDI"}.find(any[digit - 1]) == std::string_view::npos) return;
  for (const char wanted : by_preference) {
    const auto is_wanted = [&](const candidate& one) {
      return one.which->name.size() == any.size() && one.which->name[digit] == wanted;
    };
    if (auto some = only(list, is_wanted); !some.empty()) {
      list = std::move(some);
      return;
    }
  }
}

// By demangled name: overloads stay apart, but for each of them the tiers and variants are settled.
candidates by_cxx_name(const snapshot& now, const module_list& modules, const std::string& name) {
  const cxx_query asked{name};
  std::map<std::string, candidates> exact;
  std::map<std::string, candidates> loose;
  for (const module* owner : modules) {
    for (const symbol* one : owner->symbols().mangled_with(asked.identifier())) {
      if (is_clone(one->name) || one->what == symbol::kind::label) continue;
      std::string full = demangled(one->name);
      const auto fit = asked.compare(one->name, full);
      if (fit == cxx_query::match::none) continue;
      (fit == cxx_query::match::exact ? exact : loose)[std::move(full)].push_back({owner, one, 0});
    }
  }
  candidates list;
  for (auto& [full, overload] : exact.empty() ? loose : exact) {
    keep_complete_object(overload);
    keep_first_tier(now, overload);
    list.insert(list.end(), overload.begin(), overload.end());
  }
  keep_one_per_address(list);
  return list;
}

std::string describe_all(const candidates& list) {
  std::string text;
  for (const candidate& one : list) {
    const std::string version = one.which->version.empty() ? "" : fmt::format("@{}", one.which->version);
    // Rust functions of one path differ in their hashes only.
    std::string name = demangled(one.which->name);
    const auto is_namesake = [&](const candidate& other) {
      return other.which != one.which && other.which->name != one.which->name &&
             demangled(other.which->name) == name;
    };
    if (std::ranges::any_of(list, is_namesake)) name += fmt::format(" ({})", one.which->name);
    text += fmt::format("\n{}{}  {}  {:#x}", name, version, one.owner->file_name, one.address);
  }
  return text;
}

candidates choose(const snapshot& now, const module_list& modules, const query& wanted) {
  const candidates plain = by_linker_name(modules, wanted);
  candidates chosen = only(plain, [](const candidate& one) { return is_public(one) && !is_label(one); });
  if (!chosen.empty()) {
    keep_first_tier(now, chosen);
    return chosen;
  }
  chosen = only(plain, [](const candidate& one) { return !is_label(one); });
  find_code(chosen);
  if (wanted.version.empty()) {
    const candidates cxx = by_cxx_name(now, modules, wanted.symbol);
    // A C++ function that other modules see goes before a library's static C function of the same name.
    if (std::ranges::any_of(cxx, is_public)) chosen.clear();
    chosen.insert(chosen.end(), cxx.begin(), cxx.end());
    keep_one_per_address(chosen);
  }
  if (chosen.empty()) {
    chosen = plain;
    find_code(chosen);
  }
  return chosen;
}

}  // namespace

result<std::uintptr_t> find_name(const snapshot& now, const query& wanted, std::string& detail) {
  module_list modules;
  for (const auto& one : now.modules) {
    // The vDSO's names are those of libc; nothing in it can be probed.
    const bool counts =
        wanted.module.empty() ? one->what != module::kind::vdso : one->is_called(wanted.module);
    if (counts) modules.push_back(one.get());
  }
  if (modules.empty()) {
    detail = fmt::format("no loaded module is called \"{}\"", wanted.module);
    return errc::module_not_found;
  }
  const candidates found = choose(now, modules, wanted);
  const std::string name = wanted.version.empty() ? wanted.symbol : wanted.symbol + "@" + wanted.version;
  if (found.empty()) {
    detail = wanted.module.empty() ? fmt::format("no loaded module has a function \"{}\"", name)
                                   : fmt::format("\"{}\" has no function \"{}\"", wanted.module, name);
    for (const module* owner : modules) {
      if (owner->symbols().file_is_gone())
        detail += fmt::format(
            "; the file of {} has been replaced or deleted since it was loaded, and only what it exports is "
            "known",
            owner->file_name);
    }
    return errc::symbol_not_found;
  }
  if (found.size() > 1) {
    detail = fmt::format("\"{}\" may be any of{}", name, describe_all(found));
    return errc::ambiguous_symbol;
  }
  const std::uintptr_t address = found.front().address + wanted.offset;
  if (address < wanted.offset) {
    detail = fmt::format("\"{}\": the offset leads beyond the last address", name);
    return errc::malformed_location;
  }
  return address;
}

}  // namespace libprobe::symbols
