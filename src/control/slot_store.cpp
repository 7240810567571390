#include "control/slot_store.hpp"

#include <algorithm>
#include <cstring>

#include "os/code_memory.hpp"

namespace libprobe::control {

namespace {

// Half of what a rip-relative operand reaches, so that the operand may lie as far to the other side.
constexpr std::uintptr_t operand_reach = std::uintptr_t{1} << 30;
constexpr std::uintptr_t anywhere = 0;

}  // namespace

bool slot_store::still_fits(const site::slot& known, const arch::displaced& plan) {
  std::array<std::uint8_t, 2 * arch::slot_unit> code;
  const auto layout = arch::emit(plan, known.address, known.code, code);
  if (!layout || layout->units != known.layout.units) return false;
  return std::memcmp(code.data(), reinterpret_cast<const void*>(known.code),
                     layout->units * arch::slot_unit) == 0;
}

bool slot_store::add_chunk(std::uintptr_t near, std::uintptr_t reach) {
  site::chunks.reserve(1);
  chunks_.reserve(chunks_.size() + 1);
  auto fresh = std::make_unique<site::chunk>();
  const auto base = os::map_code(near, reach, site::chunk_size);
  if (!base) return false;
  fresh->base = *base;
  chunks_.push_back(fresh.get());
  site::chunks.insert(*base, fresh.release());
  return true;
}

site::chunk* slot_store::chunk_near(std::uintptr_t address, std::uintptr_t reach) {
  const auto usable = [&](const site::chunk* c) {
    const auto distance = c->base > address ? c->base - address : address - c->base;
    return c->used + 2 <= site::slots_in_chunk && (reach == anywhere || distance < reach);
  };
  const auto found = std::find_if(chunks_.rbegin(), chunks_.rend(), usable);
  if (found != chunks_.rend()) return *found;
  return add_chunk(address, reach) ? chunks_.back() : nullptr;
}

result<const site::slot*> slot_store::get(const arch::displaced& plan, std::uintptr_t address) {
  const bool stepped = plan.how == arch::displaced::method::step;
  const site::slot* known = known_[stepped].find(address);
  if (known != nullptr && still_fits(*known, plan)) return known;

  errc why = errc::out_of_code_memory;
  for (const auto reach : {operand_reach, anywhere}) {
    site::chunk* in = chunk_near(address, reach);
    if (in == nullptr) continue;
    fresh_slot fresh;
    fresh.in = in;
    fresh.unit = in->used;
    fresh.content.address = address;
    fresh.content.code = in->base + in->used * arch::slot_unit;
    const auto layout = arch::emit(plan, address, fresh.content.code, fresh.code);
    if (!layout) {
      why = layout.error();
      continue;
    }
    fresh.content.layout = *layout;
    fresh.content.stepped = stepped;
    fresh_.push_back(fresh);
    in->used += layout->units;
    return &in->slots[fresh.unit];
  }
  return why;
}

errc slot_store::write() {
  if (fresh_.empty()) return errc::ok;
  std::sort(fresh_.begin(), fresh_.end(),
            [](const fresh_slot& a, const fresh_slot& b) { return a.content.code < b.content.code; });
  std::vector<os::edit> edits;
  edits.reserve(fresh_.size());
  for (auto& known : known_) known.reserve(fresh_.size());
  for (const auto& f : fresh_) {
    const auto size = static_cast<std::uint32_t>(f.content.layout.units * arch::slot_unit);
    edits.push_back({f.content.code, nullptr, f.code.data(), size, os::edit::outcome::pending});
  }
  if (!os::write_text(edits, true)) {
    drop();
    return errc::text_not_writable;
  }
  for (const auto& f : fresh_) {
    f.in->slots[f.unit] = f.content;
    known_[f.content.stepped].insert(f.content.address, &f.in->slots[f.unit]);
  }
  // Nobody but control reads these tables.
  for (auto& known : known_) site::table<const site::slot>::drop(known.take_retired());
  fresh_.clear();
  return errc::ok;
}

void slot_store::drop() noexcept {
  for (const auto& f : fresh_) f.in->used -= f.content.layout.units;
  fresh_.clear();
}

}  // namespace libprobe::control
