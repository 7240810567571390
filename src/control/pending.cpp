#include "control/pending.hpp"

#include <utility>

#include "symbols/lookup.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

void pending_probes::add(std::span<waiting> later) noexcept {
  for (auto& one : later) {
    one.number = next_number_++;
    one.need.show();
    one.need.give_ledger_before();
    waiting_.push_back(std::move(one));
  }
}

void pending_probes::remove(site::attachment& a) noexcept {
  erase_if([&a](const site::attachment& one) { return &one == &a; });
  a.release(a);
}

std::vector<pending_probes::sought> pending_probes::all() const {
  std::vector<sought> names;
  for (const auto& one : waiting_) names.push_back({one.number, one.name, 0, {}});
  return names;
}

void pending_probes::look_up(std::span<sought> names, fork_lock& lookups) {
  for (auto& one : names) {
    const symbols::lookup no_fork{lookups};
    const auto found = symbols::resolve(location{one.name}, one.why);
    if (found) {
      one.address = *found;
    } else if (one.why.empty()) {
      one.why = make_error_code(found.error()).message();
    }
  }
}

std::vector<request> pending_probes::found(std::span<sought> names) {
  std::vector<request> found;
  for (auto& one : names) {
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
  return found;
}

void pending_probes::place(std::span<request> found, registration& by, need which) noexcept {
  if (found.empty()) return;
  std::string why_not;
  const auto why = by.place(found, why_not, which);
  if (found.front().what->where.load() == nullptr && found.size() > 1) {
    for (auto& one : found) place({&one, 1}, by, which);
    return;
  }
  for (const auto& one : found) {
    const auto known = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&one](const waiting& w) { return w.need.what == one.what; });
    if (one.what->where.load() != nullptr) {
      waiting_.erase(known);
      if (why != errc::ok) by.arm_alone(*one.what);
    } else {
      known->why = why_not.empty() ? make_error_code(why).message() : why_not;
    }
  }
}

}  // namespace libprobe::control
