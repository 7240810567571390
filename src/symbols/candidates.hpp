// From a name to the one address it means, or to the list of those it may mean.
#pragma once

#include <cstdint>
#include <string>

#include "os/result.hpp"
#include "symbols/modules.hpp"
#include "symbols/query.hpp"

namespace libprobe::symbols {

/// The address that the query's symbol and offset name. In this order:
/// 1. functions of that linker name which other modules can bind to, and global ones of the program: where
/// there are
///    several, the one that the dynamic linker binds;
/// 2. local functions of that linker name, and C++ functions by their demangled name;
/// 3. assembler labels.
/// errc::ambiguous_symbol where a step gives more than one address; `detail` lists them.
result<std::uintptr_t> find_name(const snapshot& now, const query& wanted, std::string& detail);

}  // namespace libprobe::symbols
