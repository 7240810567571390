// Text that changes in phases (src/control/text_pass.cpp, src/hit/retreat.cpp) while threads run it: no
// thread executes bytes of two instructions, and every trap of ours is known as ours.
#include <optional>

#include "arch/arch.hpp"
#include "control/text_pass.hpp"
#include "hit/landing.hpp"
#include "interleavings/model.hpp"
#include "interleavings/scenarios.hpp"
#include "os/barrier.hpp"
#include "os/process.hpp"
#include "os/signal_stack.hpp"
#include "os/signals.hpp"
#include "os/text.hpp"
#include "os/tracer.hpp"

namespace {

using namespace libprobe;
using model::program;
using site::text;

constexpr std::uintptr_t address = 0x400000;
constexpr std::size_t window = 4;
// Two instructions, and a jump over them, which traps where the second one begins. Real ones are longer, and
// more.
constexpr std::uint8_t original[window] = {0x11, 0x12, 0x21, 0x22};
constexpr std::uint8_t jump[window] = {0xe9, 0xa1, 0xcc, 0xa4};
constexpr std::uint8_t lengths[window] = {2, 0, 2, 0};
constexpr std::size_t inner = 2;

struct scene {
  atomic<std::uint8_t> bytes[window];
  site::site at;
  site::landing landings[window];
  atomic<std::uint8_t> looked{0};  // a trap has asked the tables
};

scene* now = nullptr;

/// As jump_planner::set_landings() does it.
struct observer final : control::window_observer {
  static void set(const site::site& at, bool closed) noexcept {
    for (std::size_t i = 1; i < window; ++i) {
      if ((at.jump->shape.boundaries >> i & 1U) != 0)
        now->landings[i].copy.store(closed ? at.jump->copies[i] : 0, std::memory_order_release);
    }
  }
  void window_closes(const site::site& at) noexcept override { set(at, true); }
  void window_is_open(const site::site& at) noexcept override { set(at, false); }
  void text_is_others() noexcept override {}
};

observer watching;

std::shared_ptr<scene> make_scene(program& p, text state) {
  auto made = std::make_shared<scene>();
  now = made.get();
  auto& at = made->at;
  at.address = address;
  at.jump = std::make_unique<site::jump_text>();
  at.jump->shape.window = window;
  at.jump->shape.boundaries = 1U << inner;
  std::copy_n(original, window, at.jump->original.begin());
  std::copy_n(jump, window, at.jump->jump.begin());
  at.plan.original[0] = original[0];
  at.jump->copies[inner] = 0x500000;
  std::construct_at(&site::sites);
  std::construct_at(&site::landings);
  site::sites.reserve(1);
  site::sites.insert(address, &at);
  site::landings.reserve(1);
  site::landings.insert(address + inner, &made->landings[inner]);
  for (std::size_t i = 0; i < window; ++i) {
    made->bytes[i].store(state == text::jump ? jump[i] : original[i]);
    model::name(&made->bytes[i], "byte " + std::to_string(i));
    model::name(&made->landings[i].copy, "landing " + std::to_string(i));
  }
  at.now.store(state);
  if (state == text::jump) observer::set(at, true);
  model::name(&at.now, "now");
  model::name(&at.retreated, "retreated");
  model::name(&site::text_version, "text_version");
  p.finally = [made] {
    const auto last = made->at.now.load();
    for (std::size_t i = 0; i < window; ++i) {
      const auto found = made->bytes[i].load();
      const bool trap = i == 0 && last == text::breakpoint;
      model::check(found == (last == text::jump ? jump[i]
                             : trap             ? 0xcc
                                                : original[i]),
                   "other text than is said");
    }
    now = nullptr;
  };
  return made;
}

/// Bytes one by one, in either direction: what a copy by the kernel may look like.
void put(std::size_t offset, const std::uint8_t* from, std::size_t size) {
  const bool upwards = model::choose(2) == 0;
  for (std::size_t n = 0; n < size; ++n) {
    const auto i = upwards ? n : size - 1 - n;
    auto& byte = now->bytes[offset + i];
    if (byte.load(std::memory_order_relaxed) != from[i]) byte.store(from[i], std::memory_order_release);
  }
}

// ---- what a core does

std::uint8_t fetched(std::size_t i) { return static_cast<std::uint8_t>(model::fetch(&now->bytes[i], 0)); }

/// An instruction whose first byte has been fetched. False: it has to be fetched again.
bool fetch_rest(std::size_t from, std::size_t size, const std::uint8_t* expected, int synchronized) {
  bool same = true;
  for (auto i = from + 1; i < from + size; ++i) same = fetched(i) == expected[i] && same;
  if (model::times_synchronized() != synchronized) return false;
  model::check(same, "an instruction is executed that nobody wrote");
  return true;
}

/// From one of the instructions on. As libprobe_on_trap() does it.
void execute(std::size_t ip) {
  while (ip < window) {
    const int synchronized = model::times_synchronized();
    const auto first = fetched(ip);
    if (first == original[ip] && lengths[ip] != 0) {
      if (fetch_rest(ip, lengths[ip], original, synchronized)) ip += lengths[ip];
      continue;
    }
    if (ip == 0 && first == jump[0]) {
      if (fetch_rest(0, window, jump, synchronized)) return;
      continue;
    }
    model::check(first == arch::breakpoint_bytes[0], "an instruction is executed that nobody wrote");
    model::serialize();
    const site::text_watch watch;
    const bool known = ip == 0 || hit::copy_at(address + ip) != 0;
    now->looked.store(1, std::memory_order_release);
    if (known) {
      ip += lengths[ip];  // its copy, and then the next one, where that stands
      continue;
    }
    const bool stands = now->bytes[ip].load(std::memory_order_relaxed) == arch::breakpoint_bytes[0];
    if (stands) {
      model::check(watch.changed(), "a trap of ours that nobody knows of");
      // It traps again and again, until the text is as it shall be.
      if ((site::text_version.load(std::memory_order_relaxed) & 1) != 0) model::spin();
    }
    model::serialize();
  }
}

// ---- scenarios

site::site* sites_of(scene& s) { return &s.at; }

void write(text wanted) {
  site::site* const one[] = {sites_of(*now)};
  model::check(control::write_text(one, wanted, watching) == errc::ok, "refused");
}
void restore() {
  site::site* const one[] = {sites_of(*now)};
  model::check(control::restore_text(one, text::original, watching) == errc::ok, "refused");
}

template <std::size_t Ip>
void a_jump_is_written(program& p) {
  make_scene(p, text::original);
  p.threads = {[] { execute(Ip); }, [] { write(text::jump); }};
}
template <std::size_t Ip>
void a_jump_is_taken_back(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] { execute(Ip); }, [] { restore(); }};
}
void there_and_back(program& p) {
  make_scene(p, text::original);
  p.threads = {[] { execute(0); },
               [] {
                 write(text::jump);
                 restore();
               }};
}
void back_and_there(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] { execute(inner); },
               [] {
                 restore();
                 write(text::jump);
               }};
}
/// The jump that it came from has gone when it asks the tables, and another one stands there when it asks the
/// text.
void late_look(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] {
                 execute(inner);
                 now->looked.store(1, std::memory_order_release);
               },
               [] {
                 restore();
                 while (now->looked.load(std::memory_order_acquire) == 0) model::spin();
                 write(text::jump);
               }};
}
void a_breakpoint(program& p) {
  make_scene(p, text::original);
  p.threads = {[] { execute(0); },
               [] {
                 write(text::breakpoint);
                 restore();
               }};
}
/// A hit takes the jump back by itself.
template <std::size_t Ip>
void retreat(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] { execute(Ip); }, [] { hit::retreat(address); }};
}
/// Beside control, which does the same or finds it done.
void retreat_beside_control(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] { hit::retreat(address); }, [] { restore(); }};
}
void retreat_beside_control_and_a_thread(program& p) {
  make_scene(p, text::jump);
  p.threads = {[] { execute(0); }, [] { hit::retreat(address); }, [] { restore(); }};
}

const std::vector<model::scenario> scenarios{
    {"a jump is written", {}, a_jump_is_written<0>},
    {"a jump is written over a thread inside", {}, a_jump_is_written<inner>},
    {"a jump is taken back", {2}, a_jump_is_taken_back<0>},
    {"a jump is taken back, a branch goes inside", {}, a_jump_is_taken_back<inner>},
    {"a jump is written and taken back", {2}, there_and_back},
    {"a jump is taken back and written", {2}, back_and_there},
    {"a trap that is looked into late", {2, 0}, late_look},
    {"a breakpoint is written and taken back", {}, a_breakpoint},
    {"retreat", {3}, retreat<0>},
    {"retreat, a branch goes inside", {}, retreat<inner>},
    {"retreat beside control", {}, retreat_beside_control},
    {"retreat beside control and a thread", {1}, retreat_beside_control_and_a_thread},
};

}  // namespace

// ---- what those sources ask of the rest of the library

namespace libprobe::control {

bool writes_avoid_traps() noexcept { return false; }
int deaf_thread() noexcept { return 0; }
bool exchange_held(std::span<os::edit>, bool) noexcept { return false; }

}  // namespace libprobe::control

namespace libprobe::os {

void synchronize_cores() noexcept { model::synchronize_cores(); }
bool is_traced() noexcept { return false; }
bool exchange_text(std::span<edit>, bool) noexcept { return false; }
bool read_memory(std::uintptr_t, std::span<std::uint8_t>) noexcept { return false; }
void change_mask(int, std::uint64_t, std::uint64_t*) noexcept {}
bool on_signal_stack(std::uintptr_t) noexcept { return false; }
bool is_guest() noexcept { return false; }
int home_process() noexcept { return 9; }
int thread_id() noexcept { return 9; }
bool thread_exists(int) noexcept { return true; }

bool write_text(std::span<edit> edits, bool) noexcept {
  bool good = true;
  for (auto& one : edits) {
    const auto offset = one.address - address;
    bool same = true;
    for (std::size_t i = 0; i < one.size; ++i)
      same = same && now->bytes[offset + i].load(std::memory_order_relaxed) == one.expected[i];
    if (same) put(offset, one.wanted, one.size);
    one.done = same ? edit::outcome::written : edit::outcome::differs;
    good = good && same;
  }
  return good;
}

}  // namespace libprobe::os

namespace libprobe::arch {

bool guarded_load(std::uintptr_t, std::uint64_t&) noexcept { return false; }
/// Those of os/raw.hpp that retreat() makes.
long system_call(long number, long, long from, long size, long to, long, long) noexcept {
  if (number == __NR_membarrier) model::synchronize_cores();
  if (number != __NR_pwrite64) return 0;
  put(static_cast<std::uintptr_t>(to) - address, reinterpret_cast<const std::uint8_t*>(from),
      static_cast<std::size_t>(size));
  return size;
}

}  // namespace libprobe::arch

#include "arch/x86_64/patch.cpp"
#include "control/text_pass.cpp"
#include "hit/retreat.cpp"
#include "site/site.cpp"

int main(int count, char** names) { return model::run_scenarios(scenarios, count, names); }
