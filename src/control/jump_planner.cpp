#include "control/jump_planner.hpp"

#include "control/counter_store.hpp"
#include "control/traced.hpp"
#include "epoch/epoch.hpp"
#include "os/text.hpp"
#include "os/tracer.hpp"
#include "site/thread.hpp"

#include <algorithm>
#include <array>

namespace libprobe::control {

namespace {

/// The same in every thread, for variables of libraries that were there at its start.
template <class T>
std::intptr_t from_thread_base(const T* variable) noexcept {
  return static_cast<std::intptr_t>(reinterpret_cast<std::uintptr_t>(variable) - arch::thread_base());
}

}  // namespace

/// The code behind a jump.
struct jump_planner::chain {
  site::detour* about = nullptr;
  std::uintptr_t detour = 0;
  std::array<std::uintptr_t, arch::most_members> copies{};
  site::purpose purpose = site::purpose::any;
  std::uintptr_t body = 0;
  std::uintptr_t original = 0;
};

site::detour& jump_planner::detour_of(std::uintptr_t address) {
  if (auto* known = detour_at_.find(address)) return *known;
  detour_at_.reserve(1);
  detour_at_.drop_outgrown();  // nobody but control reads it
  auto& made = detours_.emplace_back();
  detour_at_.insert(address, &made);
  return made;
}

/// A function's entry, where the detour does not go on in the copy by itself.
bool jump_planner::link_entry(site::purpose purpose, chain& made) {
  const bool follow = purpose == site::purpose::follow;
  const auto front =
      slots_.get(follow ? slot_kind::follow : slot_kind::replace, made.about->address,
                 [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
                   return arch::emit_detour(
                       made.about, made.about->address, 0,
                       follow ? arch::detour_end::follows : arch::detour_end::returns, slot,
                       follow ? static_cast<std::uintptr_t>(from_thread_base(&site::self.follow)) : 0, code);
                 });
  if (!front) return false;
  made.detour = front->code;
  made.purpose = purpose;
  return true;
}

/// A displaced instruction's, that goes on at `next`.
result<slot_store::handle> jump_planner::copy_of(const arch::displaced& plan, std::uintptr_t address,
                                                 std::uintptr_t next) {
  if (next == address + plan.length) return slots_.get(plan, address, true);
  return slots_.get(slot_kind::linked, address, [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
    return arch::emit(plan, address, slot, next, code);
  });
}

/// Past all handlers: those behind the first instruction are not for calls that a replacement has taken.
bool jump_planner::link_original(const arch::displaced& first, std::uintptr_t next, chain& made) {
  const auto copy = copy_of(first, made.about->address, next);
  if (!copy) return false;
  const auto original = slots_.get_original(made.about->address, copy->code);
  if (!original) return false;
  made.original = original->code;
  return true;
}

/// From the last copy to the first, since each goes on in the next.
bool jump_planner::link(const site::site& at, const function_text::ground& ground,
                        const arch::jump_shape& shape, const specification& of, chain& made) {
  std::array<arch::displaced, arch::most_members> plans;
  std::array<std::uintptr_t, arch::most_members> addresses{};
  auto address = at.address;
  for (std::size_t i = 0; i < shape.members; ++i) {
    const auto plan = arch::plan(ground.instructions[i], address, false);
    if (!plan) return false;
    plans[i] = *plan;
    addresses[i] = address;
    address += plan->length;
  }
  made.about = &detour_of(at.address);
  made.about->address = at.address;
  auto next = address;
  for (std::size_t i = shape.members; i-- > 0;) {
    if (i == 0 && of.replaced && !link_original(plans[0], next, made)) return false;
    if (i == 0 && of.after && !arch::is_branch(plans[0])) {
      const auto behind =
          slots_.get(slot_kind::after, at.address, [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
            return arch::emit_detour(made.about, at.address, plans[0].length, arch::detour_end::goes_on, slot,
                                     next, code);
          });
      if (!behind) return false;
      next = behind->code;
    }
    const auto copy = copy_of(plans[i], addresses[i], next);
    if (!copy) return false;
    next = made.copies[i] = copy->code;
  }
  made.body = next;
  if (of.purpose == site::purpose::follow || of.purpose == site::purpose::replace)
    return link_entry(of.purpose, made);
  const auto front =
      slots_.get(slot_kind::before, at.address, [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
        return arch::emit_detour(made.about, at.address, 0, arch::detour_end::goes_on, slot, next, code);
      });
  if (!front) return false;
  made.detour = front->code;
  if (of.purpose != site::purpose::count) return true;
  if (made.about->column == nullptr) made.about->column = take_column().release();
  if (made.about->column == nullptr) return true;  // threads share a counter
  const auto row = from_thread_base(&epoch::row_of_thread);
  const bool only_called = functions_.is_only_called(at.address);
  const auto counting =
      slots_.get(slot_kind::count, at.address, [&](std::uintptr_t slot, std::span<std::uint8_t> code) {
        return arch::emit_count(made.about->column, row, only_called, front->code, slot, next, code);
      });
  if (!counting) return false;
  made.detour = counting->code;
  made.purpose = of.purpose;
  return true;
}

void jump_planner::add_landings(std::uintptr_t address, const arch::jump_shape& shape) {
  for (std::size_t i = 1; i < shape.window; ++i) {
    if ((shape.boundaries >> i & 1U) == 0) continue;
    if (site::landings.find(address + i) != nullptr) continue;
    site::landings.reserve(1);
    site::landings.insert(address + i, &landings_.emplace_back());
  }
}

/// A debugger's breakpoint at the first byte of a later instruction is part of the jump's distance, and comes
/// and goes. So there is a hop wherever the jump leads then. False: one could not be placed that must be.
bool jump_planner::lead_beside(std::uintptr_t address, const arch::jump_shape& shape,
                               const beside& breakpoints, std::uintptr_t detour) {
  const auto inside = (1U << shape.window) - 1;
  const auto lead_to = [&](std::uint32_t where) {
    const auto other = arch::with_breakpoints(shape, where);
    if (hops_.known(other, address, detour)) return true;
    auto hop = hops_.place(other, address);
    if (!hop) hop = hops_.place_in_new_page(other, address);
    if (hop) hops_.lead(*hop, address, detour);
    return hop.has_value();
  };
  const auto now = breakpoints.now & inside;
  if (now != 0 && !lead_to(now)) return false;
  for (std::size_t i = 1; i < shape.window; ++i) {
    const auto one = std::uint32_t{1} << i;
    if ((breakpoints.perhaps & inside & one) == 0) continue;
    if (!lead_to(one) && breakpoints.needed) return false;
    if (now != 0 && (now | one) != now) lead_to(now | one);
  }
  return true;
}

bool jump_planner::try_shape(site::site& at, const function_text::ground& ground,
                             const arch::jump_shape& shape, const specification& of,
                             const beside& breakpoints, bool in_new_page) {
  chain made;
  // Where the displaced instruction leaves room for the whole jump, that leads to the detour itself if it
  // can.
  if (shape.how == arch::tactic::over_long && !link(at, ground, shape, of, made)) return false;
  std::uintptr_t target = made.detour;
  if (target == 0 || !arch::jump_reach{shape, at.address}.allows(target)) {
    const auto hop =
        in_new_page ? hops_.place_in_new_page(shape, at.address) : hops_.place(shape, at.address);
    // Code for a jump that cannot be would be made anew each time.
    if (!hop && !hops_.may_know(shape, at.address)) return false;
    if (made.detour == 0 && !link(at, ground, shape, of, made)) {
      if (hop) hops_.take_back(*hop);
      return false;
    }
    if (const auto known = hops_.known(shape, at.address, made.detour)) {
      if (hop) hops_.take_back(*hop);
      target = *known;
    } else if (hop) {
      hops_.lead(*hop, at.address, made.detour);
      target = *hop;
    } else {
      return false;
    }
  }
  if (!lead_beside(at.address, shape, breakpoints, made.detour)) return false;
  add_landings(at.address, shape);
  auto text = std::make_unique<site::jump_text>();
  text->shape = shape;
  std::copy_n(ground.bytes.begin(), shape.window, text->original.begin());
  text->jump = text->original;
  arch::write_jump(shape, at.address, target, std::span{text->jump}.first(shape.window));
  for (std::size_t i = 1, at_byte = 0; i < shape.members; ++i) {
    at_byte += ground.instructions[i - 1].length;
    if (at_byte < shape.window) text->copies[at_byte] = made.copies[i];
  }
  at.jump = std::move(text);
  at.detour_body = made.body;
  at.through = made.about;
  at.first_copy = made.copies[0];
  at.original_by_jump = made.original;
  at.after_by_detour = of.after;
  at.detour_for = made.purpose;
  return true;
}

/// Under a debugger wherever an instruction begins. Else where it will put one when it comes and is told to
/// stop in a function, if that is a function as compilers make them for debuggers.
jump_planner::beside jump_planner::breakpoints_beside(std::uintptr_t address,
                                                      const function_text::ground& ground) {
  beside found;
  if (!os::is_traced()) {
    found.perhaps = arch::behind_prologue(std::span{ground.bytes}.first(ground.size));
    return found;
  }
  arch::window_bytes there{};
  const auto bytes = std::span{there}.first(ground.size);
  const bool readable = os::read_memory(address, bytes);
  std::size_t at = 0;
  for (std::size_t i = 0; i < ground.count; ++i) {
    at += ground.instructions[i].length;
    if (at >= ground.size) break;
    found.perhaps |= 1U << at;
    if (readable && arch::is_breakpoint(bytes.subspan(at)) &&
        !arch::is_breakpoint(std::span{ground.bytes}.subspan(at)))
      found.now |= 1U << at;
  }
  return found;
}

/// Under a debugger a jump may need more hops than one.
void jump_planner::expect(std::size_t probes) { hops_.expect(os::is_traced() ? 4 * probes : probes); }

void jump_planner::choose(site::site& at, std::uint32_t taken, const specification& of) {
  function_text::ground here;
  at.why_trap = "no function is known there";
  if (!functions_.ground_at(at.address, here)) return;
  const bool traced = os::is_traced();
  const bool quiet = traps_are_avoided();
  auto breakpoints = breakpoints_beside(at.address, here);
  arch::jump_ground ground{at.address, std::span{here.instructions}.first(here.count),
                           std::span{here.bytes}.first(here.size), here.landings, taken};
  // Under a debugger what stands at inner boundaries must not be taken for its breakpoints, and must not be
  // a signal that it keeps to itself; nor one that kills a thread.
  std::array<arch::jump_shape, arch::most_shapes * std::size(arch::inner_fillers)> shapes;
  std::size_t count = 0;
  for (const auto inner : arch::inner_fillers) {
    if (quiet) ground.inner = inner;
    std::array<arch::jump_shape, arch::most_shapes> some;
    for (const auto& shape : std::span{some}.first(arch::jump_shapes(ground, some))) {
      // A debugger's breakpoint in the middle would be written over.
      if ((breakpoints.now & shape.boundaries) != 0) continue;
      if (inner == arch::inner_fillers[0] || shape.boundaries != 0) shapes[count++] = shape;
    }
    if (!quiet) break;
  }
  at.why_trap =
      taken != 0 ? "other probes are too near" : "the instruction's surroundings leave no room for a jump";
  if (count == 0) return;
  const auto usable = std::span{shapes}.first(count);
  const auto try_all = [&](bool in_new_page, auto&& may_be) {
    return std::any_of(usable.begin(), usable.end(), [&](const arch::jump_shape& shape) {
      return may_be(shape) && try_shape(at, here, shape, of, breakpoints, in_new_page);
    });
  };
  const auto any = [](const arch::jump_shape&) { return true; };
  bool done = false;
  if (traced) {
    // First what displaces no instruction that a debugger may want to stop at.
    const auto alone = [](const arch::jump_shape& shape) { return shape.members == 1; };
    breakpoints.needed = true;
    done = try_all(false, alone) || try_all(true, alone) || try_all(false, any) || try_all(true, any);
    breakpoints.needed = false;
  }
  // First whatever needs no further page: shapes differ more in memory than in speed.
  if (done || try_all(false, any) || try_all(true, any)) {
    at.why_trap = nullptr;
    return;
  }
  at.why_trap = "no memory where a jump could lead";
}

void jump_planner::set_landings(const site::site& at, bool active) noexcept {
  for (std::size_t i = 1; i < at.jump->shape.window; ++i) {
    if ((at.jump->shape.boundaries >> i & 1U) == 0) continue;
    auto& landing = *site::landings.find(at.address + i);
    landing.jump_at.store(at.address, std::memory_order_relaxed);
    if (active) landing.traps.store(0, std::memory_order_relaxed);
    landing.copy.store(active ? at.jump->copies[i] : 0, std::memory_order_release);  // pairs with hit::land()
  }
}

}  // namespace libprobe::control
