#include "control/shortcuts.hpp"

#include "epoch/epoch.hpp"

namespace libprobe::control {

namespace {

bool has_copies(const site::site& at) noexcept { return at.jump != nullptr && !at.yields; }

}  // namespace

void set_only(site::site& at) noexcept {
  auto* const first = at.first.load(std::memory_order_relaxed);
  const bool alone = first != nullptr && first == at.last;
  at.only.store(alone && first->pre_handler != nullptr ? first : nullptr, std::memory_order_release);
  at.follower.store(alone ? first->pool : nullptr, std::memory_order_release);
  if (at.through == nullptr) return;
  const bool direct = at.detour_for == site::purpose::replace && epoch::barriers_are_asymmetric() && alone &&
                      !first->resting.load(std::memory_order_relaxed);
  at.through->direct.store(direct ? first->direct : nullptr, std::memory_order_release);
}

std::uintptr_t original_of(const site::site& at) noexcept {
  return has_copies(at) ? at.original_by_jump : at.original_by_trap;
}

void set_body(site::site& at) noexcept {
  const auto body = has_copies(at) ? at.first_copy : at.code != nullptr ? at.code->jump_part() : 0;
  at.body.store(body, std::memory_order_release);
  const auto original = original_of(at);
  for (auto* a = at.first.load(std::memory_order_relaxed); a != nullptr;
       a = a->next.load(std::memory_order_relaxed)) {
    if (a->book != nullptr)
      a->book->body.store(original, std::memory_order_release);  // pairs with site::original_of()
  }
}

void set_saved_vectors(const site::site& at, arch::vector_use wanted) noexcept {
  if (at.detour_for == site::purpose::replace) {
    wanted.add(arch::vector_use::in_ordinary_context());
  } else if (at.keeps_more_than_vectors) {
    wanted.add(arch::vector_use::whole());
  }
  at.through->vectors.store(wanted.bits(), std::memory_order_relaxed);
}

bool is_wanted(const site::site& at) noexcept {
  for (auto* a = at.first.load(); a != nullptr; a = a->next.load()) {
    if (!a->removed && !a->disabled) return true;
  }
  return false;
}

void unlink_removed(site::site& at) noexcept {
  at.last = nullptr;
  auto* link = &at.first;
  while (auto* a = link->load(std::memory_order_relaxed)) {
    if (a->removed) {
      link->store(a->next.load(std::memory_order_relaxed), std::memory_order_release);
    } else {
      at.last = a;
      link = &a->next;
    }
  }
}

}  // namespace libprobe::control
