#include "control/function_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "os/pages.hpp"
#include "os/text.hpp"
#include "os/tracer.hpp"
#include "site/site.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace libprobe::control {

namespace {

constexpr std::size_t remembered = 16;

/// More than its first byte is the site's. (A jump that has given way to others is a breakpoint.)
bool has_window(const site::site& at) noexcept {
  return at.jump != nullptr && at.now.load() >= site::text::staged;
}

}  // namespace

bool function_text::read(std::uintptr_t from, std::span<std::uint8_t> to) {
  const auto is_near = [&] {
    return from >= near_start_ && from - near_start_ <= near_.size() &&
           to.size() <= near_.size() - (from - near_start_);
  };
  if (!is_near()) {
    const auto much = 4 * os::page_size();
    near_start_ = os::page_start(from);
    near_.resize(much);
    if (to.size() > much - os::page_size() || !os::read_memory(near_start_, near_)) {
      near_.clear();
      return os::read_memory(from, to);
    }
  }
  std::copy_n(near_.begin() + static_cast<std::ptrdiff_t>(from - near_start_), to.size(), to.begin());
  return true;
}

bool function_text::read_without_probes(std::uintptr_t from, std::span<std::uint8_t> to) {
  if (!read(from, to)) return false;
  if (!site::sites.may_have(from - arch::longest_window, from + to.size())) return true;
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (!arch::may_begin_patch(to[i])) continue;
    const site::site* at = site::sites.find(from + i);
    if (at == nullptr || at->now == site::text::original) continue;
    to[i] = at->plan.original[0];
    if (!has_window(*at)) continue;
    const auto window = std::min<std::size_t>(at->jump->shape.window, to.size() - i);
    std::copy_n(at->jump->original.begin(), window, &to[i]);
    i += window - 1;
  }
  // A jump may begin before the first byte.
  for (std::size_t back = 1; back < arch::longest_window; ++back) {
    const site::site* at = site::sites.find(from - back);
    if (at == nullptr || !has_window(*at)) continue;
    for (std::size_t i = back; i < at->jump->shape.window && i - back < to.size(); ++i)
      to[i - back] = at->jump->original[i];
  }
  return true;
}

/// A debugger shows the program without its breakpoints, and so do we: where the module's file has other
/// bytes, and no others.
bool function_text::read_original(std::uintptr_t from, std::span<std::uint8_t> to) {
  if (!read_without_probes(from, to)) return false;
  if (!os::is_traced() || !arch::may_hold_breakpoint(to)) return true;
  std::vector<std::uint8_t> file(to.size());
  if (!symbols::read_from_file(from, file)) return true;
  if (arch::is_covered_by_breakpoints(to, file)) std::copy(file.begin(), file.end(), to.begin());
  return true;
}

bool function_text::is_covered(std::uintptr_t address) {
  std::array<std::uint8_t, arch::breakpoint_length> here{}, original{};
  return os::is_traced() && site::sites.find(address) == nullptr && read(address, here) &&
         arch::is_breakpoint(here) && read_original(address, original) && !arch::is_breakpoint(original);
}

result<function_text::function*> function_text::load(std::uintptr_t address, std::string& detail) {
  if (const auto now = symbols::generation(); now != generation_) {
    forget();
    generation_ = now;
  }
  const auto known = std::find_if(functions_.begin(), functions_.end(), [address](const function& f) {
    return address >= f.start && address - f.start < f.bytes.size();
  });
  if (known != functions_.end()) {
    known->last_used = ++clock_;
    return &*known;
  }
  const auto extent = symbols::text_around(address);
  if (!extent) {
    detail = fmt::format("no symbol and no unwind entry covers {:#x}", address);
    return errc::unknown_function;
  }
  function fresh;
  fresh.start = extent->start;
  fresh.bytes.resize(extent->end - extent->start);
  fresh.boundaries.resize(fresh.bytes.size());
  fresh.last_used = ++clock_;
  // With what is behind it, in one go if that is there.
  fresh.bytes.resize(fresh.bytes.size() + fresh.behind.size());
  if (read_original(fresh.start, fresh.bytes)) {
    fresh.behind_size = fresh.behind.size();
    std::copy(fresh.bytes.end() - static_cast<std::ptrdiff_t>(fresh.behind_size), fresh.bytes.end(),
              fresh.behind.begin());
    fresh.bytes.resize(fresh.boundaries.size());
  } else {
    fresh.bytes.resize(fresh.boundaries.size());
    if (!read_original(fresh.start, fresh.bytes)) return errc::not_executable;
  }
  find_marks(fresh);
  if (functions_.size() < remembered) {
    functions_.push_back(std::move(fresh));
    return &functions_.back();
  }
  auto oldest =
      std::min_element(functions_.begin(), functions_.end(),
                       [](const function& a, const function& b) { return a.last_used < b.last_used; });
  *oldest = std::move(fresh);
  return &*oldest;
}

/// What symbols and the loader say of it; and if there may be data in it, where that lies.
void function_text::find_marks(function& in) {
  const auto size = in.bytes.size();
  for (const auto& one : symbols::starts_in({in.start, in.start + size})) {
    const auto offset = one.address - in.start;
    in.entries.push_back(offset);
    (one.typed ? in.marks.code : in.marks.perhaps).push_back(offset);
  }
  for (const auto& one : symbols::data_in({in.start, in.start + size}))
    in.marks.data.push_back({std::max(one.start, in.start) - in.start, one.end - in.start, one.relocated});
  if (in.marks.data.empty() && !arch::may_hold_tables(in.bytes, in.start)) return;
  make_map(in);
  if (!in.map->has_data()) in.map.reset();
}

void function_text::decode_up_to(function& in, std::size_t offset) {
  while (in.decoded <= offset && in.decoded < in.bytes.size() && !in.stuck) {
    in.boundaries[in.decoded] = true;
    const auto here = arch::decode(std::span{in.bytes}.subspan(in.decoded));
    if (!here && here.error() == errc::out_of_memory) return;
    const auto next = here ? in.decoded + here->length : 0;
    const auto symbol = std::upper_bound(in.entries.begin(), in.entries.end(), in.decoded);
    if (here && (symbol == in.entries.end() || *symbol >= next)) {
      in.decoded = next;
    } else {
      in.stuck = true;
    }
  }
}

/// errc::ok if one does.
errc function_text::begins_instruction(function& in, std::size_t offset) {
  using enum code_map::content;
  if (!in.map) {
    decode_up_to(in, offset);
    if (!in.stuck && in.decoded <= offset) return errc::out_of_memory;
    if (in.boundaries[offset] && (!in.stuck || offset != in.decoded)) return errc::ok;
    make_map(in);
  }
  switch (in.map->at(offset)) {
    case instruction:
      return errc::ok;
    case inside:
      return errc::not_instruction_boundary;
    case data:
      return errc::data_in_text;
    case unknown:
      break;
  }
  if (in.map->has_data()) return errc::undecodable_instruction;
  decode_up_to(in, offset);
  if (!in.boundaries[offset])
    return in.stuck ? errc::undecodable_instruction : errc::not_instruction_boundary;
  // Only what leads to something known: else it may be what cannot be decoded, seen from its middle.
  if (!in.stuck) return errc::ok;
  for (auto at = offset; at < in.decoded; ++at) {
    if (in.map->at(at) == instruction) return errc::ok;
  }
  return errc::undecodable_instruction;
}

// Code that the program made itself: the caller says where an instruction begins, nobody else can. Nothing of
// it is remembered, since it may be made anew at any time.
result<arch::instruction> function_text::lone_instruction_at(std::uintptr_t address, std::string& detail) {
  std::array<std::uint8_t, arch::max_instruction_length> bytes;
  std::span<std::uint8_t> there{bytes};
  if (!read_original(address, there)) {
    there = there.first(std::min(there.size(), os::page_size() - (address - os::page_start(address))));
    if (!read_original(address, there)) return errc::not_executable;
  }
  auto here = arch::decode(there);
  if (!here) detail = fmt::format("the bytes at {:#x} are no known instruction", address);
  return here;
}

/// Somebody else has patched it since it was read.
bool function_text::is_stale(std::uintptr_t address) {
  std::string ignored;
  const auto found = load(address, ignored);
  if (!found) return false;
  std::vector<std::uint8_t> now((*found)->bytes.size());
  return read_original((*found)->start, now) && now != (*found)->bytes;
}

result<arch::instruction> function_text::instruction_at(std::uintptr_t address, bool pointed,
                                                        std::string& detail) {
  auto found = decode_at(address, pointed, detail);
  if (found || !is_stale(address)) return found;
  forget();
  detail.clear();
  return decode_at(address, pointed, detail);
}

result<arch::instruction> function_text::decode_at(std::uintptr_t address, bool pointed,
                                                   std::string& detail) {
  const auto found = load(address, detail);
  if (!found && found.error() == errc::unknown_function && (pointed || !symbols::in_module(address))) {
    detail.clear();
    return lone_instruction_at(address, detail);
  }
  if (!found) return found.error();
  function& in = **found;
  const auto offset = address - in.start;
  switch (const auto why = begins_instruction(in, offset)) {
    case errc::ok:
      break;
    case errc::out_of_memory:
      return why;
    case errc::data_in_text:
      detail =
          fmt::format("{:#x} lies in data that the function at {:#x} has among its code", address, in.start);
      return why;
    case errc::undecodable_instruction:
      if (in.map->has_data()) {
        detail = fmt::format(
            "the function at {:#x} has data among its code, and no symbol and no known branch leads to {:#x}",
            in.start, address);
      } else {
        detail = fmt::format(
            "the bytes at {:#x} in the function are no known instruction, and no symbol and no known branch "
            "leads to {:#x}",
            in.start + in.decoded, address);
      }
      return why;
    default:
      detail = fmt::format("{:#x} lies inside an instruction of the function at {:#x}", address, in.start);
      return why;
  }
  auto here = arch::decode(std::span{in.bytes}.subspan(offset));
  if (!here) detail = fmt::format("the bytes at {:#x} are no known instruction", address);
  return here;
}

/// Where a branch may lead into it: looked for in its bytes, and other ways in.
void function_text::find_targets(function& in) {
  in.targets.emplace(in.bytes, in.behind_size);
  for (const auto entry : in.entries) in.targets->add(entry);
  for (std::size_t at = 0; in.map && at < in.bytes.size(); ++at) {
    if (in.map->is_target(at)) in.targets->add(at);
  }
}

bool function_text::ground_at(std::uintptr_t address, ground& to) {
  std::string ignored;
  const auto found = load(address, ignored);
  if (!found) return false;
  function& in = **found;
  const auto offset = address - in.start;
  // Behind the function its padding may follow, which nobody runs.
  std::array<std::uint8_t, arch::most_members * arch::max_instruction_length> bytes;
  to.size = std::min(bytes.size(), in.bytes.size() - offset);
  std::copy_n(&in.bytes[offset], to.size, bytes.begin());
  const auto own = to.size;
  const auto more = std::min(bytes.size() - own, in.behind_size);
  std::copy_n(in.behind.begin(), more, &bytes[own]);
  to.size += more;
  std::size_t length = 0;
  for (to.count = 0; to.count < arch::most_members && length < arch::jump_length; ++to.count) {
    if (length >= to.size) break;
    const auto next = arch::split(std::span{bytes}.subspan(length, to.size - length));
    if (!next) break;
    const bool padding = length >= own;
    if (padding && !(arch::is_padding(*next) && (address + length) % 16 != 0)) break;
    if (!padding && (length + next->length > own || begins_instruction(in, offset + length) != errc::ok))
      break;
    to.instructions[to.count] = *next;
    length += next->length;
  }
  to.size = std::min<std::size_t>(to.size, arch::longest_window);
  std::copy_n(bytes.begin(), to.size, to.bytes.begin());
  if (to.count > 1 || (to.count == 1 && arch::may_be_entered_inside(to.instructions[0]))) {
    if (!in.targets) find_targets(in);
    to.landings = in.targets->behind(in.bytes, offset, length);
  }
  return to.count != 0;
}

bool function_text::keeps_more_than_vectors(std::uintptr_t address) {
  std::string ignored;
  const auto found = load(address, ignored);
  if (!found) return true;
  auto& known = (*found)->keeps_more_than_vectors;
  if (!known) known = arch::keeps_more_than_vectors((*found)->bytes);
  return *known;
}

bool function_text::is_entry(std::uintptr_t address, bool pointed) {
  std::string ignored;
  const auto found = load(address, ignored);
  if (!found) return true;  // refused for a better reason later
  function& in = **found;
  const auto offset = address - in.start;
  const auto starts = [&](std::size_t at) {
    return at == 0 || std::binary_search(in.entries.begin(), in.entries.end(), at);
  };
  constexpr auto pad = arch::landing_pad_length;
  return starts(offset) ||
         (offset >= pad && starts(offset - pad) &&
          arch::starts_with_landing_pad(std::span{in.bytes}.subspan(offset - pad))) ||
         (pointed && begins_instruction(in, offset) == errc::ok);
}

bool function_text::is_only_called(std::uintptr_t address) {
  std::string ignored;
  const auto found = load(address, ignored);
  if (!found) return false;
  const function& in = **found;
  return address == in.start ||
         (arch::starts_with_landing_pad(in.bytes) && address == in.start + arch::landing_pad_length);
}

}  // namespace libprobe::control
