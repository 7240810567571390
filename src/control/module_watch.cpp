#include "control/module_watch.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <utility>

#include "os/text.hpp"
#include "os/tracer.hpp"
#include "site/text_owner.hpp"

namespace libprobe::control {

namespace {

bool has(const symbols::snapshot& now, const symbols::module* one) noexcept {
  return std::any_of(now.modules.begin(), now.modules.end(),
                     [one](const auto& known) { return known.get() == one; });
}

/// False: other bytes stand there. A module that was unloaded and loaded again in the same place looks like
/// one that stayed.
bool stands(const site::site& at) noexcept {
  if (at.now == site::text::original) return true;
  const bool jump = at.now == site::text::jump;
  std::array<std::uint8_t, arch::breakpoint_length> there{};
  // A debugger's breakpoint may stand on top of the jump.
  return os::read_memory(at.address, there) &&
         ((jump && std::equal(there.begin(), there.end(), at.jump->jump.begin())) ||
          ((!jump || os::is_traced()) && arch::is_breakpoint(there)));
}

}  // namespace

bool module_watch::look() noexcept {
  if (modules_ != nullptr && modules_->counts == symbols::current_counts()) return true;
  try {
    const auto before = std::exchange(modules_, symbols::current_modules());
    if (before != nullptr && any_left_since(before->counts)) let_go_of(*before);
    settle_strays();
    return true;
  } catch (const std::bad_alloc&) {
    told_of_unloading_ = false;  // once is enough not to have known each time
    return false;
  }
}

/// Of what lay in modules of `before` that are no more.
void module_watch::let_go_of(const symbols::snapshot& before) noexcept {
  const site::text_owner mine;
  for (const auto& one : before.modules) {
    const bool stays = has(*modules_, one.get());
    if (stays && told_of_unloading_) continue;
    site::sites.for_each([&](site::site& at) {
      if (at.module == one.get() && (!stays || !stands(at))) let_go(at, one);
    });
  }
}

/// Sites that lay in no module, and do now. Either they were placed in it before the loader listed it (or
/// while it came, went and came again), or the program's own code has been unmapped and the module has taken
/// its place.
void module_watch::settle_strays() noexcept {
  const site::text_owner mine;
  site::sites.for_each([this](site::site& at) {
    if (at.module != nullptr) return;
    const auto owner =
        std::find_if(modules_->modules.begin(), modules_->modules.end(),
                     [&at](const auto& one) { return one->segment_at(at.address) != nullptr; });
    if (owner == modules_->modules.end()) return;
    if (stands(at)) {
      at.module = owner->get();
    } else {
      let_go(at, *owner);
    }
  });
}

/// Nothing is written any more, and nobody finds the site by its address: something else may lie there soon.
void module_watch::let_go(site::site& at, const std::shared_ptr<const symbols::module>& with) noexcept {
  site::sites.erase(at.address);
  if (at.through != nullptr) at.through->at.store(nullptr, std::memory_order_release);
  text_.text_is_gone(at);
  if (at.first.load(std::memory_order_relaxed) != nullptr) {
    gone_.push_back({&at, with});  // room was reserved at registration
  } else {
    retired_.add(at);
  }
}

bool module_watch::lead_elsewhere(std::span<const request> requests, const symbols::snapshot& known) const {
  return any_left_since(known.counts) && std::any_of(requests.begin(), requests.end(), [&](const request& r) {
           return known.find(r.address) != modules_->find(r.address);
         });
}

}  // namespace libprobe::control
