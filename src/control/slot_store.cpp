#include "control/slot_store.hpp"

#include <algorithm>
#include <cstring>

#include "control/quiescence.hpp"
#include "os/code_memory.hpp"

namespace libprobe::control {

namespace {

// Half of what a rip-relative operand reaches, so that the operand may lie as far to the other side.
constexpr std::uintptr_t operand_reach = std::uintptr_t{1} << 30;
constexpr std::uintptr_t anywhere = 0;

bool is_within(std::uintptr_t reach, std::uintptr_t a, std::uintptr_t b) noexcept {
  return reach == anywhere || (a > b ? a - b : b - a) < reach;
}

}  // namespace

bool slot_store::still_fits(const site::slot& known, const emitter& emit) {
  std::array<std::uint8_t, 2 * arch::slot_unit> code;
  const auto layout = emit(known.code, code);
  if (!layout || layout->units != known.layout.units) return false;
  return std::memcmp(code.data(), reinterpret_cast<const void*>(known.code),
                     layout->units * arch::slot_unit) == 0;
}

bool slot_store::add_chunk(std::uintptr_t near, std::uintptr_t reach) {
  site::chunks.reserve(1);
  chunks_.reserve(chunks_.size() + 1);
  auto fresh = std::make_unique<site::chunk>();
  // Below the last one there mostly is room, and looking for it costs more with each mapping that there is.
  std::optional<std::uintptr_t> base;
  if (!chunks_.empty()) {
    const auto below = chunks_.back()->base - site::chunk_size;
    if (is_within(reach, below, near) && os::map_code_at(below, site::chunk_size)) base = below;
  }
  if (!base) base = os::map_code(near, reach, site::chunk_size);
  if (!base) return false;
  fresh->base = *base;
  chunks_.push_back(fresh.get());
  site::chunks.insert(*base, fresh.release());
  return true;
}

site::chunk* slot_store::chunk_near(std::uintptr_t address, std::uintptr_t reach) {
  const auto usable = [&](const site::chunk* c) {
    const bool room = !c->reclaimed.empty() || c->used + 2 <= site::slots_in_chunk;
    return room && is_within(reach, c->base, address);
  };
  const auto found = std::find_if(chunks_.rbegin(), chunks_.rend(), usable);
  if (found != chunks_.rend()) return *found;
  return add_chunk(address, reach) ? chunks_.back() : nullptr;
}

/// Chooses the unit, a reclaimed one where a single one does, and writes the code as it must stand there.
errc slot_store::make(const emitter& emit, fresh_slot& fresh) {
  for (const bool reused : {true, false}) {
    if (reused ? fresh.in->reclaimed.empty() : fresh.in->used + 2 > site::slots_in_chunk) continue;
    fresh.reused = reused;
    fresh.unit = reused ? fresh.in->reclaimed.back() : fresh.in->used;
    fresh.content.code = fresh.in->base + fresh.unit * arch::slot_unit;
    const auto layout = emit(fresh.content.code, fresh.code);
    if (!layout) return layout.error();
    if (reused && layout->units > 1) continue;
    fresh.content.layout = *layout;
    return errc::ok;
  }
  return errc::out_of_code_memory;
}

result<slot_store::handle> slot_store::get(slot_kind kind, std::uintptr_t address, const emitter& emit,
                                           bool linked) {
  const auto link = [&](site::slot& slot) {
    const bool wanted = linked || (kind != slot_kind::copy && kind != slot_kind::stepped);
    if (wanted && !slot.linked) ++linked_;
    slot.linked = slot.linked || wanted;
  };
  for (auto* known = known_[static_cast<std::size_t>(kind)].find(address); known != nullptr;
       known = known->older) {
    if (!still_fits(*known, emit)) continue;
    link(*known);
    return handle{known, known->code};
  }
  // Asked for a moment ago: a site's own slot is also the first that its jump needs.
  if (!fresh_.empty()) {
    auto& last = fresh_.back();
    if (kind == slot_kind::copy && last.kind == kind && last.content.address == address) {
      link(last.content);
      return handle{&last.in->slots[last.unit], last.content.code};
    }
  }

  errc why = errc::out_of_code_memory;
  for (const auto reach : {operand_reach, anywhere}) {
    site::chunk* in = chunk_near(address, reach);
    if (in == nullptr) continue;
    fresh_slot fresh;
    fresh.in = in;
    fresh.kind = kind;
    fresh.content.address = address;
    fresh.content.stepped = kind == slot_kind::stepped;
    link(fresh.content);
    why = make(emit, fresh);
    if (why != errc::ok) continue;
    fresh_.push_back(fresh);
    if (fresh.reused) {
      in->reclaimed.pop_back();
    } else {
      in->used += fresh.content.layout.units;
    }
    return handle{&in->slots[fresh.unit], fresh.content.code};
  }
  return why;
}

result<slot_store::handle> slot_store::get(const arch::displaced& plan, std::uintptr_t address, bool linked) {
  const bool stepped = plan.how == arch::displaced::method::step;
  return get(
      stepped ? slot_kind::stepped : slot_kind::copy, address,
      [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
        return arch::emit(plan, address, slot, address + plan.length, code);
      },
      linked);
}

result<slot_store::handle> slot_store::get_original(std::uintptr_t address, std::uintptr_t body) {
  return get(slot_kind::original, address, [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
    return arch::emit_original(slot, body, code);
  });
}

errc slot_store::write() {
  if (fresh_.empty()) return errc::ok;
  std::vector<os::edit> edits;
  edits.reserve(fresh_.size());
  std::array<std::size_t, kinds> more{};
  for (const auto& f : fresh_) ++more[static_cast<std::size_t>(f.kind)];
  for (std::size_t kind = 0; kind < kinds; ++kind) known_[kind].reserve(more[kind]);
  for (const auto& f : fresh_) {
    const auto size = static_cast<std::uint32_t>(f.content.layout.units * arch::slot_unit);
    edits.push_back({f.content.code, nullptr, f.code.data(), size, os::edit::outcome::pending});
  }
  std::sort(edits.begin(), edits.end(),
            [](const os::edit& a, const os::edit& b) { return a.address < b.address; });
  if (!os::write_text(edits, true)) {
    drop();
    return errc::text_not_writable;
  }
  for (const auto& f : fresh_) {
    auto& known = known_[static_cast<std::size_t>(f.kind)];
    auto& slot = f.in->slots[f.unit];
    slot = f.content;
    slot.older = known.find(slot.address);
    known.insert(slot.address, &slot);
  }
  // Nobody but control reads these tables.
  for (auto& known : known_) known.drop_outgrown();
  handed_out_ += fresh_.size();
  fresh_.clear();
  return errc::ok;
}

void slot_store::drop() noexcept {
  for (const auto& f : fresh_) {
    if (f.content.linked) --linked_;
    if (f.reused) {
      f.in->reclaimed.push_back(static_cast<std::uint16_t>(f.unit));  // has the room it had before
    } else {
      f.in->used -= f.content.layout.units;
    }
  }
  fresh_.clear();
}

void slot_store::forget(const site::slot& slot) noexcept {
  for (auto& known : known_) {
    auto* newest = known.find(slot.address);
    if (newest == &slot) {
      if (slot.older != nullptr) {
        known.insert(slot.address, slot.older);
      } else {
        known.erase(slot.address);
      }
    }
    for (; newest != nullptr; newest = newest->older) {
      if (newest->older == &slot) newest->older = slot.older;
    }
  }
}

void slot_store::reclaim_idle(const std::unordered_set<const site::slot*>& in_use) {
  // What names a slot: the slots' own records say where they lie, and must not count as holding it.
  std::vector<std::uintptr_t> records(chunks_.size());
  std::transform(chunks_.begin(), chunks_.end(), records.begin(),
                 [](const site::chunk* c) { return reinterpret_cast<std::uintptr_t>(c); });
  std::sort(records.begin(), records.end());
  const auto own = [&records](std::uintptr_t address, std::size_t) {
    const auto behind = std::upper_bound(records.begin(), records.end(), address);
    return behind != records.begin() && address - behind[-1] < sizeof(site::chunk);
  };
  std::unordered_set<const site::slot*> held;
  const bool quiet = visit_held_words(own, [&held](std::uintptr_t word) {
    if (const auto* slot = site::slot_at(word)) held.insert(slot);
  });
  std::size_t idle = 0;
  for (auto* in : chunks_) {
    if (quiet) in->reclaimed.reserve(in->used);
    for (std::size_t unit = 0; unit < in->used; ++unit) {
      auto& slot = in->slots[unit];
      if (slot.code == 0 || slot.linked || in_use.contains(&slot)) continue;
      ++idle;
      if (!quiet || held.contains(&slot)) continue;
      --idle;
      --handed_out_;
      forget(slot);
      for (std::size_t i = 0; i < slot.layout.units; ++i)
        in->reclaimed.push_back(static_cast<std::uint16_t>(unit + i));
      slot = {};
    }
  }
  next_attempt_ = idle + idle / 2;
}

}  // namespace libprobe::control
