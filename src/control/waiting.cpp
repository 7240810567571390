// Probes that wait for their module, or for a module that has their symbol.
#include <algorithm>
#include <new>

#include "control/registry.hpp"
#include "site/thread.hpp"
#include "symbols/lookup.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

/// Cannot fail: there is room, and the guards stand.
void registry::wait_for_modules(std::span<waiting> later) noexcept {
  for (auto& one : later) {
    one.number = next_number_++;
    replace_gone(one.need);
    show(one.need);
    give_ledger_before(one.need);
    waiting_.push_back(std::move(one));
  }
}

/// Nobody has seen it: it is freed at once.
void registry::stop_waiting(site::attachment& a) noexcept {
  std::erase_if(waiting_, [&a](const waiting& one) { return one.need.what == &a; });
  a.release(a);
}

void registry::place_waiting() noexcept {
  if (lock_.is_mine()) return;  // as in modules_changed()
  const site::quiet no_handlers;
  settle();
  try {
    struct sought {
      std::uint64_t number;
      std::string name;
      std::uintptr_t address;  // 0: not there
      std::string why;
    };
    std::vector<sought> all;
    {
      const std::lock_guard guard{lock_};
      for (const auto& one : waiting_) all.push_back({one.number, one.name, 0, {}});
    }
    if (all.empty()) return;
    // Not under the lock: the loader is asked, too.
    for (auto& one : all) {
      const symbols::lookup no_fork{lookups_};  // gives way to the loader
      const auto found = symbols::resolve(location{one.name}, one.why);
      if (found) {
        one.address = *found;
      } else if (one.why.empty()) {
        one.why = make_error_code(found.error()).message();
      }
    }
    const std::lock_guard guard{lock_};
    if (!look_at_modules()) return;
    std::vector<request> found;
    for (auto& one : all) {
      const auto known = std::find_if(waiting_.begin(), waiting_.end(),
                                      [&one](const waiting& w) { return w.number == one.number; });
      if (known == waiting_.end()) continue;  // removed meanwhile, or placed by another thread
      known->why = std::move(one.why);
      if (one.address == 0) continue;
      found.push_back(known->need);
      found.back().address = one.address;
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const request& a, const request& b) { return a.address < b.address; });
    place_found(found);
  } catch (const std::bad_alloc&) {
    // They wait on, for the next module.
  }
}

/// All in one pass if that can be, else as many as can be. Under the lock.
void registry::place_found(std::span<request> found) noexcept {
  if (found.empty()) return;
  std::string why_not;
  const auto why = place(found, why_not, guarded_ ? need::any : need::jumps);
  if (found.front().what->where.load() == nullptr && found.size() > 1) {
    for (auto& one : found) place_found({&one, 1});
    return;
  }
  for (const auto& one : found) {
    const auto known = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&one](const waiting& w) { return w.need.what == one.what; });
    if (one.what->where.load() != nullptr) {
      waiting_.erase(known);
      if (why != errc::ok) arm_alone(*one.what);
    } else {
      known->why = why_not.empty() ? make_error_code(why).message() : why_not;
    }
  }
}

/// Where the text cannot be written the probe stays, disabled, and enable_*() will tell why.
void registry::arm_alone(site::attachment& a) noexcept {
  site::site* const at = a.where;
  try {
    if (a.disabled || write({&at, 1}, site::text::jump) == errc::ok) return;
  } catch (const std::bad_alloc&) {
  }
  a.disabled = true;
  a.resting.store(true, std::memory_order_release);
}

}  // namespace libprobe::control
