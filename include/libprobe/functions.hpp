// The functions of the loaded modules, by pattern and by address.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace libprobe {

/// One function of a loaded module. Its address is a location; it goes stale when the module is unloaded.
struct function_info {
  std::string name;    ///< demangled where it is C++
  std::string module;  ///< file name without folders
  const void* address = nullptr;
  std::size_t size = 0;  ///< bytes of code; 0 where no symbol and no unwind entry tells
};

/// The functions that fit a pattern, by address, one row for each address. The pattern is `"module:symbol"`
/// or
/// `"symbol"`, both with the wildcards of fnmatch(3): `*`, `?`, `[...]`. A module is matched by soname or
/// file name; without one all modules are searched. A symbol is matched by its linker name, and as people
/// write it in C++, with parameters and without: `"libsqlite3.so.0:sqlite3_bind_*"`, `"ns::Widget::*"`,
/// `"ns::f(int)"`. Found are functions that symbols name, static ones too where the file has them; an IFUNC
/// stands for the code that the loader chose. Left out are the halves that compilers split off (`f.cold`):
/// they are jumped to, not called.
///
/// Empty when nothing fits. Any thread; not from a handler; allocates. Milliseconds for a big library's first
/// time.
std::vector<function_info> list_functions(std::string_view pattern);

/// The function whose code holds the address; nothing where no module lies. The name is empty where no symbol
/// tells it, as in a stripped library's own functions. As list_functions().
std::optional<function_info> function_at(const void* address);

}  // namespace libprobe
