#include "control/escape_guards.hpp"

#include <gnu/libc-version.h>

#include <algorithm>

#include "control/guards.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

// In src/hit; known here by name only, as the site calls it.
extern "C" bool libprobe_on_longjmp(libprobe::registers& regs);

namespace libprobe::control {

std::vector<request> escape_guards() {
  std::vector<request> made;
#ifndef __SANITIZE_THREAD__  // as in guard_requests()
  if (!arch::knows_jump_buffers()) return made;
  const auto modules = symbols::current_modules();
  const auto* const libc = modules->find(reinterpret_cast<std::uintptr_t>(&gnu_get_libc_version));
  if (libc == nullptr) return made;
  // Names of the same function, mostly; ____longjmp_chk, behind the third, is fortified programs'.
  for (const char* name :
       {"longjmp", "_longjmp", "siglongjmp", "__longjmp_chk", "__libc_longjmp", "__libc_siglongjmp"}) {
    for (const auto* found : libc->symbols().named(name)) {
      const bool known = std::any_of(made.begin(), made.end(),
                                     [found](const request& r) { return r.address == found->start; });
      if (known) continue;
      made.reserve(made.size() + 1);
      made.push_back(guard_at(found->start, libprobe_on_longjmp));
    }
  }
#endif
  return made;
}

}  // namespace libprobe::control
