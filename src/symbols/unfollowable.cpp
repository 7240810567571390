// Functions that do not return as others do: their calls cannot be followed, nor made by somebody in between.
#include <setjmp.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "symbols/follow.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbol_table.hpp"
#include "symbols/symbols.hpp"

// libc's own are known by address, too, where no name is left. Weak: a static program that has none gets
// none.
#undef setjmp
#pragma weak setjmp
#pragma weak _setjmp
#pragma weak __sigsetjmp
#pragma weak getcontext
#pragma weak vfork

namespace libprobe::symbols {
namespace {

constexpr const char* twice = "it returns twice";
constexpr const char* never_called = "it is entered without being called";
constexpr const char* elsewhere = "it goes on elsewhere, and never returns";
constexpr const char* own_caller = "it works on the frame that it returns to";

std::string_view without(std::string_view name, std::string_view prefix) {
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  return name;
}

// "__interceptor_sigsetjmp", "__GI___sigsetjmp", "__libc_vfork": the same function, or one that stands for
// it.
std::string_view bare(std::string_view name) {
  const auto without_lines = [](std::string_view n) {
    return n.substr(std::min(n.find_first_not_of('_'), n.size()));
  };
  name = without_lines(name);
  for (const std::string_view prefix : {"GI_", "libc_", "interceptor_", "libucontext_"}) {
    name = without_lines(without(name, prefix));
  }
  return name;
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, name) != names.end();
}

const char* by_name(std::string_view name) {
  if (name.starts_with("_Z")) return nullptr;
  for (const std::string_view beginning : {"_dl_runtime_resolve", "_dl_runtime_profile", "_dl_tlsdesc"}) {
    if (name.starts_with(beginning)) return never_called;
  }
  name = name.substr(0, name.find('.'));  // parts of a function that the compiler has split
  // libgcc's _Unwind_* begin and end with these: the frame that they fill in, or rewrite, is their caller's.
  if (is_one_of(name, {"uw_init_context_1", "uw_install_context_1"})) return own_caller;
  // libunwind's: what they have saved is left for good when somebody resumes there.
  const auto plain = bare(name);
  if (name == "__longjmp" || name == "____longjmp_chk" || plain == "setcontext") return elsewhere;
  if (plain == "unw_getcontext" ||
      (name.starts_with("_U") && name.find("_getcontext") != std::string_view::npos))
    return own_caller;
  // What C compilers know as returning twice, musl's part of it, State Threads' own.
  if (is_one_of(plain, {"setjmp", "sigsetjmp", "sigsetjmp_tail", "qsetjmp", "setjmp_syscall", "savectx",
                        "getcontext", "vfork", "st_md_cxt_save"}))
    return twice;
  return nullptr;
}

bool is_libcs(std::uintptr_t address) {
  // Where libc's code lies, however the program names it.
  static const auto known = [] {
    std::array at{reinterpret_cast<std::uintptr_t>(&::setjmp), reinterpret_cast<std::uintptr_t>(&::_setjmp),
                  reinterpret_cast<std::uintptr_t>(&::__sigsetjmp),
                  reinterpret_cast<std::uintptr_t>(&::getcontext),
                  reinterpret_cast<std::uintptr_t>(&::vfork)};
    for (auto& one : at) {
      if (one != 0) one = follow(*current_modules(), one);
    }
    return at;
  }();
  return std::ranges::find(known, address) != known.end();
}

}  // namespace

const char* why_unfollowable(std::uintptr_t address) {
  const auto now = current_modules();
  const module* owner = now->find(address);
  if (owner == nullptr) return is_libcs(address) ? twice : nullptr;
  // A function has as many names as it likes, and its entry may be the instruction behind a landing pad.
  const symbol_table& table = owner->symbols();
  const symbol* known = table.covering(address);
  if (known == nullptr) known = table.unsized_before(address).which;
  std::vector<std::uintptr_t> starts{address};
  if (known != nullptr) starts.push_back(known->start);
  if (const auto whole = function_at(address)) starts.push_back(whole->start);
  for (const auto start : starts) {
    for (const symbol* one : table.starting_at(start)) {
      if (const char* why = by_name(one->name)) return why;
    }
    if (is_libcs(start)) return twice;
  }
  return nullptr;
}

}  // namespace libprobe::symbols
