#include "control/escape_guards.hpp"

#include <gnu/libc-version.h>

#include <algorithm>
#include <initializer_list>

#include "arch/trap.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::control {

namespace {

// As in signal_guards().
#ifdef __SANITIZE_THREAD__
constexpr bool watched_by_a_sanitizer = true;
#else
constexpr bool watched_by_a_sanitizer = false;
#endif

/// Where libc defines them; each place once, of names of the same function.
std::vector<std::uintptr_t> entries_of(const symbols::module& libc,
                                       std::initializer_list<const char*> names) {
  std::vector<std::uintptr_t> found;
  for (const char* name : names) {
    for (const auto* one : libc.symbols().named(name)) {
      if (std::find(found.begin(), found.end(), one->start) == found.end()) found.push_back(one->start);
    }
  }
  return found;
}

}  // namespace

std::vector<request> escape_guards(const guard_hooks& hooks) {
  std::vector<request> made;
  if (watched_by_a_sanitizer) return made;
  const auto modules = symbols::current_modules();
  const auto* const libc = modules->find(reinterpret_cast<std::uintptr_t>(&gnu_get_libc_version));
  if (libc == nullptr) return made;
  // ____longjmp_chk, behind __longjmp_chk, is fortified programs'.
  const auto jumps = entries_of(
      *libc, {"longjmp", "_longjmp", "siglongjmp", "__longjmp_chk", "__libc_longjmp", "__libc_siglongjmp"});
  const auto spawns = entries_of(*libc, {"vfork", "__vfork", "posix_spawn", "posix_spawnp"});
  made.reserve(jumps.size() + spawns.size());
  if (arch::knows_jump_buffers()) {
    for (const auto at : jumps) made.push_back(guard_at(at, hooks.on_longjmp));
  }
  for (const auto at : spawns) {
    made.push_back(guard_at(at, nullptr));
    made.back().what->before = hooks.on_spawn;
  }
  return made;
}

}  // namespace libprobe::control
