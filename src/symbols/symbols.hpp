// Names <-> addresses of the running process: modules, symbols, functions' extents, and where probes must not
// go. Knows no patching, and of a CPU what linkage and the return from signals look like. probeable() reads
// by arch::guarded_load(): only after control has put the fault handlers in place.
//
// Where not said otherwise what is here may block (the cache's lock, the loader's) and allocates; any thread,
// outside handlers. It may call dlopen(), dlsym() and resolvers of IFUNCs, so code of the program's; while it
// asks the loader, the lock of the caller's `lookup` is given back (lookup.hpp).
// Floor: on os and arch. Words: a *module* is a loaded file, the program's own too, or the vDSO, which is in
// no file; a *snapshot*, all modules at one moment; an *extent*, a range of code, one function's where not
// said otherwise; a *candidate*, one of the places that a name may mean; *denied*, one of several reasons why
// no probe may be at an address (probeable(), src/symbols/deny.cpp).
#pragma once

#include <cstdint>
#include <libprobe/location.hpp>
#include <optional>
#include <string>
#include <vector>

#include "os/result.hpp"

namespace libprobe::symbols {

/// Code of one function: [start, end).
struct extent {
  std::uintptr_t start = 0;
  std::uintptr_t end = 0;
};

class module;

struct description {
  std::string module;         // file name without folders; empty for anonymous memory
  std::string symbol;         // demangled where it is C++; empty when no symbol covers the address
  std::uintptr_t offset = 0;  // from the symbol; without one from the module's load address or into the file
};

/// The address that a location names. On failure `detail` says more: the name, the candidates.
result<std::uintptr_t> resolve(const location& where, std::string& detail);

/// The function around an address: from the symbol tables, else from the unwind tables (.eh_frame).
/// Nothing when neither knows.
std::optional<extent> function_at(std::uintptr_t address);

/// All code that belongs together around an address, for looking at its branches: functions one in the other,
/// labels one behind the other. Nothing where function_at() knows nothing.
std::optional<extent> text_around(std::uintptr_t address);

/// Where symbols say that code begins, and data lies, inside of it; in order of address.
struct code_start {
  std::uintptr_t address = 0;
  bool typed = false;  // a function's symbol; else it may name data
};
std::vector<code_start> starts_in(const extent& where);
struct data_range {
  std::uintptr_t start = 0, end = 0;
  bool relocated = false;  // by the loader: data, or an instruction's operand
};
std::vector<data_range> data_in(const extent& where);

/// True if the address belongs to a loaded module (as opposed to anonymous or file memory mapped by the
/// program).
bool in_module(std::uintptr_t address);

/// The nearest symbol before the address whose code has not ended there, with a type or without, for people
/// to read. Its name resolves to the same function again.
description describe(std::uintptr_t address);
/// The same of a module that may have been unloaded.
description describe(const module& owner, std::uintptr_t address);

/// Null if the calls of the function at the address may be followed, and made by somebody in between. Else
/// why not, in words: it returns twice (setjmp, getcontext, vfork), or works on the frame that it returns to
/// (parts of unwinders), or is entered without being called (parts of the dynamic linker). By all names that
/// lead there.
const char* why_unfollowable(std::uintptr_t address);

/// errc::ok where a probe may be placed, else not_executable or denied_address: libprobe's own text, what its
/// hit path calls, the vDSO, signal-return stubs, restartable sequences, shared file mappings.
/// unsupported_runtime: a function of a runtime that would not survive it.
/// unsupported_environment: not in a module, and nobody can tell what else is mapped.
errc probeable(std::uintptr_t address);

/// Another number each time modules were loaded or unloaded: what was learnt about addresses may be stale
/// then. Tens of nanoseconds; allocates nothing.
std::uint64_t generation();

}  // namespace libprobe::symbols
