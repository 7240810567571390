#include "control/removal.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "control/shortcuts.hpp"

namespace libprobe::control {

namespace {

/// Where those go that come out of their grace period in use: of the removal that frees just now. Under
/// control's lock.
constinit epoch::retired** in_use_of_caller = nullptr;

}  // namespace

void removal::reserve(std::size_t more) {
  const auto room = linked_ + more;
  queue_.reserve(room);
  touched_.reserve(room);
  modules_.reserve(room);
}

void removal::queue(site::attachment& a) noexcept {
  a.removed = true;
  a.resting.store(true, std::memory_order_relaxed);
  if (a.counts && a.book != nullptr) a.book->shown.store(a.book->hits(), std::memory_order_relaxed);
  set_only(*a.where);
  queue_.push_back(&a);  // room was reserved at registration
}

void removal::replace_gone(const request& by) noexcept {
  auto* const known = static_cast<site::attachment*>(by.handle->load(std::memory_order_relaxed));
  if (known == nullptr || known == by.what || known->removed) return;
  queue(*known);
  ++replaced_;
}

epoch::ticket removal::take_out(errc& answer) noexcept {
  unlink_queued();
  answer = restore_text();
  drop_empty_sites();
  text_.return_to_jumps();
  site::sites.retire_outgrown(retired_);
  site::chunks.retire_outgrown(retired_);
  site::landings.retire_outgrown(retired_);
  site::hop_pages.retire_outgrown(retired_);
  return retired_.empty() ? 0 : retired_.seal();
}

/// Leaves their sites in touched_.
void removal::unlink_queued() noexcept {
  // A gone site and the one that has taken its place have one address.
  const auto by_place = [](const site::attachment* a, const site::attachment* b) {
    const auto *one = a->where.load(), *other = b->where.load();
    return one->address != other->address ? one->address < other->address : std::less<>{}(one, other);
  };
  if (!std::is_sorted(queue_.begin(), queue_.end(), by_place))  // as lists of functions mostly are
    std::sort(queue_.begin(), queue_.end(), by_place);
  touched_.clear();
  for (const auto* a : queue_) {
    if (touched_.empty() || touched_.back() != a->where) touched_.push_back(a->where);
  }
  for (auto* at : touched_) {
    unlink_removed(*at);
    set_only(*at);
  }
  for (auto* a : queue_) {
    a->where.store(nullptr, std::memory_order_release);
    --linked_;
    retire(*a);
  }
  queue_.clear();
}

/// Of touched sites that nobody wants to trap any more.
errc removal::restore_text() noexcept {
  const auto idle = std::stable_partition(
      touched_.begin(), touched_.end(), [](const site::site* at) { return at->now == site::text::original; });
  const auto still_wanted =
      std::stable_partition(idle, touched_.end(), [](const site::site* at) { return is_wanted(*at); });
  return text_.take_back({still_wanted, touched_.end()}, site::text::original);
}

void removal::drop_empty_sites() noexcept {
  for (auto* at : touched_) {
    // A breakpoint that could not be taken back keeps its site, so that it stays harmless.
    if (at->now != site::text::original || at->first.load(std::memory_order_relaxed) != nullptr) continue;
    if (at->gone) {
      // None there: it went just now, with nothing registered any more, and is retired.
      if (!modules_.forget(*at)) continue;
    } else {
      site::sites.erase(at->address);
      if (at->through != nullptr) at->through->at.store(nullptr, std::memory_order_release);
      if (at->yields) text_.forget(*at);
    }
    retired_.add(*at);
  }
}

void removal::retire(site::attachment& a) noexcept {
  a.free = free_attachment;
  retired_.add(a);
}

void removal::free_attachment(epoch::retired& what) noexcept {
  auto& a = static_cast<site::attachment&>(what);
  if (a.release(a)) return;
  a.next_retired = std::exchange(*in_use_of_caller, &a);
}

void removal::free_complete() noexcept {
  in_use_of_caller = &in_use_;
  retired_.free_complete();
}

const site::attachment* removal::free_in_use(const handles* only) noexcept {
  const site::attachment* running = nullptr;
  for (auto** link = &in_use_; *link != nullptr;) {
    auto& a = static_cast<site::attachment&>(**link);
    auto* const next = a.next_retired;
    if (a.release(a)) {
      *link = next;
      continue;
    }
    const bool asked = only == nullptr || std::find(only->begin(), only->end(), a.handle) != only->end();
    if (asked && a.is_running()) running = &a;
    link = &a.next_retired;
  }
  return running;
}

void removal::tidy() noexcept {
  constexpr std::size_t patience = 64;
  if (replaced_ < patience) return;
  replaced_ = 0;  // whatever comes of it: what is not complete now is by the next time, or at a commit
  errc ignored = errc::ok;
  if (const auto covered = take_out(ignored); epoch::poll(covered)) free_complete();
}

}  // namespace libprobe::control
