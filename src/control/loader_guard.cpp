#include "control/loader_guard.hpp"

#include <link.h>

#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"

namespace libprobe::control {

namespace {

// libprobe's own code runs in a hit here, so all that it may use of vector registers is to be saved.
constexpr arch::vector_use own_code = arch::vector_use::vectors();

// Written under control's lock, before a guard stands that reads it.
constinit loader_hooks told;

bool tell_of_change(registers&) {
  told.modules_changed();
  return false;
}

/// The loader's constructors run inside this function, with no exception to be filled in: from there none is
/// caught.
bool tell_of_constructors(registers& regs) {
  if (regs.argument<const void*>(0) == nullptr) told.constructors_begin();
  return false;
}

}  // namespace

namespace {

request learning_guard(std::uintptr_t address, bool (*learn)(registers&)) {
  auto made = guard_at(address, learn, own_code);
  made.only_learns = true;
  return made;
}

}  // namespace

std::vector<request> unloading_guards(const loader_hooks& tell) {
  told = tell;
  std::vector<request> made;
  const auto notify = static_cast<std::uintptr_t>(_r_debug.r_brk);
  if (notify != 0) made.push_back(learning_guard(notify, tell_of_change));
  return made;
}

std::vector<request> constructor_guards(const loader_hooks& tell) {
  told = tell;
  std::vector<request> made;
  for (const auto& one : symbols::current_modules()->modules) {
    // In libc, and since 2.37 in the loader itself.
    for (const auto* found : one->symbols().named("_dl_catch_exception")) {
      if (!found->exported) continue;
      made.reserve(made.size() + 1);
      made.push_back(learning_guard(found->start, tell_of_constructors));
    }
  }
  return made;
}

}  // namespace libprobe::control
