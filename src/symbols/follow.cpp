#include "symbols/follow.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <string>

#include "arch/machine.hpp"
#include "symbols/dynamic.hpp"
#include "symbols/lookup.hpp"

namespace libprobe::symbols {
namespace {

// A stub may lead to a stub of another module, but not for ever.
constexpr int most_hops = 8;

struct imported_name {
  std::string name;
  std::string version;
};

// The lazy binder has not been there yet: what it would find. Its scopes are not told by the loader; the load
// order is that of the global one. dlsym() would answer with the very stub that is followed.
std::optional<std::uintptr_t> first_definition(const snapshot& now, const imported_name& wanted) {
  for (const auto& one : now.modules) {
    if (one->what == module::kind::vdso) continue;
    for (const symbol* found : one->symbols().named(wanted.name)) {
      if (!found->exported || found->what == symbol::kind::label) continue;
      const bool same_version = wanted.version.empty()
                                    ? !found->hidden_version
                                    : found->version.empty() || found->version == wanted.version;
      const auto code = same_version ? code_of(*one, *found) : 0;
      if (code != 0) return code;
    }
  }
  return std::nullopt;
}

// The slot that the code at the address jumps through, if it is a linkage stub and no function that happens
// to consist of such a jump.
std::optional<std::uintptr_t> slot_of_stub(const module& owner, std::uintptr_t address) {
  const segment* code = owner.segment_at(address);
  if (code == nullptr || !code->executable || !code->readable) return std::nullopt;
  constexpr std::uintptr_t longest_stub = 32;
  const auto slot = arch::linkage_slot(
      {reinterpret_cast<const std::uint8_t*>(address), std::min(longest_stub, code->end - address)}, address);
  if (!slot || *slot % sizeof(std::uintptr_t) != 0) return std::nullopt;
  const segment* data = owner.segment_at(*slot);
  if (data == nullptr || !data->readable || data->end - *slot < sizeof(std::uintptr_t)) return std::nullopt;
  const symbol_table& table = owner.symbols();
  const bool is_stub =
      table.sections_known() ? table.in_linkage(address) : table.starting_at(address).empty();
  return is_stub ? slot : std::nullopt;
}

std::optional<std::uintptr_t> behind_stub(const snapshot& now, const module& owner, std::uintptr_t address) {
  const auto slot = slot_of_stub(owner, address);
  if (!slot) return std::nullopt;
  const std::uintptr_t bound =
      std::atomic_ref{*reinterpret_cast<std::uintptr_t*>(*slot)}.load(std::memory_order_relaxed);
  // Unbound, the slot points to the stub's second half, or to a stub of the binder's.
  constexpr std::uintptr_t longest_stub = 32;
  const bool back =
      owner.symbols().sections_known() ? owner.symbols().in_linkage(bound) : bound - address < longest_stub;
  if (bound != 0 && !back) return bound;
  imported_name wanted;
  while_loaded(owner, [&] {
    const auto import = dynamic_view{owner.bias, owner.headers}.imported_at(*slot);
    wanted = {std::string{import.name}, std::string{import.version}};
  });
  if (wanted.name.empty()) return std::nullopt;
  return first_definition(now, wanted);
}

// A pointer to an IFUNC symbol itself. The resolver as a function in its own right has a name of its own.
std::optional<std::uintptr_t> behind_indirect(const module& owner, std::uintptr_t address) {
  const auto names = owner.symbols().starting_at(address);
  const auto is_indirect = [](const symbol* one) { return one->what == symbol::kind::indirect; };
  if (names.empty() || !std::ranges::all_of(names, is_indirect)) return std::nullopt;
  const auto code = code_of(owner, *names.front());
  return code != 0 ? std::optional{code} : std::nullopt;
}

std::uintptr_t resolvers_answer(const symbol& which) {
  using resolver = std::uintptr_t (*)();
  return reinterpret_cast<resolver>(which.start)();
}

// With a handle of our own: the module is whole, however young it is, and stays. 0: the loader has none.
std::uintptr_t loaders_answer(const module& owner, const symbol& which) {
  const loader_call may_wait;
  void* handle =
      ::dlopen(owner.what == module::kind::program ? nullptr : owner.path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (handle == nullptr) return 0;
  const std::string name{which.name};
  const std::string version{which.version};
  void* const told = !which.exported   ? nullptr
                     : version.empty() ? ::dlsym(handle, name.c_str())
                                       : ::dlvsym(handle, name.c_str(), version.c_str());
  auto answer = reinterpret_cast<std::uintptr_t>(told);
  // What the handle is of may be another one of that name.
  if (told == nullptr && while_loaded(owner, [] {})) answer = resolvers_answer(which);
  ::dlclose(handle);
  return answer;
}

}  // namespace

std::uintptr_t code_of(const module& owner, const symbol& which) {
  if (which.what != symbol::kind::indirect) return which.start;
  if (!which.exported && owner.what == module::kind::program) return resolvers_answer(which);
  // Without a handle: another thread may have unloaded it, and may be loading it again just now.
  return loaders_answer(owner, which);
}

std::uintptr_t follow(const snapshot& now, std::uintptr_t function) {
  for (int hop = 0; hop < most_hops; ++hop) {
    const module* owner = now.find(function);
    if (owner == nullptr) break;
    auto next = behind_stub(now, *owner, function);
    if (!next) next = behind_indirect(*owner, function);
    if (!next || *next == function) break;
    function = *next;
  }
  return function;
}

}  // namespace libprobe::symbols
