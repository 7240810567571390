#include "dense_sites.hpp"

#include <sqlite3.h>

#include <algorithm>

#include "arch/arch.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace {

using namespace libprobe;

/// All instructions of a function that has not been probed yet.
std::vector<std::uintptr_t> instructions_of(const symbols::extent& function) {
  std::vector<std::uintptr_t> found;
  for (auto at = function.start; at < function.end;) {
    const auto here = arch::decode({reinterpret_cast<const std::uint8_t*>(at), function.end - at});
    if (!here) break;
    if (arch::plan(*here, at, false) && symbols::probeable(at) == errc::ok) found.push_back(at);
    at += here->length;
  }
  return found;
}

}  // namespace

dense_sites::dense_sites() {
  const auto inside = reinterpret_cast<std::uintptr_t>(&sqlite3_libversion);
  const auto modules = symbols::current_modules();
  const auto text = *modules->find(inside)->segment_at(inside);
  function_ = text.start;
  end_ = text.end;
}

bool dense_sites::load_function() {
  while (function_ < end_) {
    const auto found = symbols::function_at(function_);
    if (!found) {
      ++function_;  // padding
      continue;
    }
    function_ = found->end;
    pending_ = instructions_of(*found);
    std::ranges::reverse(pending_);
    if (!pending_.empty()) return true;
  }
  return false;
}

std::vector<std::uintptr_t> dense_sites::next(std::size_t count) {
  std::vector<std::uintptr_t> found;
  while (found.size() < count && (!pending_.empty() || load_function())) {
    found.push_back(pending_.back());
    pending_.pop_back();
  }
  return found;
}
