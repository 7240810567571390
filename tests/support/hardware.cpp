#include "hardware.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <libprobe/libprobe.hpp>
#include <memory>

#include "hardware_run.hpp"

extern "C" {
extern const char hardware_landing_0[], hardware_landing_1[], hardware_landing_2[];
}

namespace hardware {

namespace arch = libprobe::arch;

namespace {

constexpr std::uint64_t register_by_register = 0x1234'5678'9abc'def0;  // what a post_handler changes r15 by
constexpr std::size_t reported = 20;                                   // differences told in words

// What the handlers are to do and have seen: one thread, one probe at a time.
const cpu_state* wanted = nullptr;
cpu_state seen_after;
int runs_after = 0;
bool change_after = false;

constexpr std::uint64_t libprobe::registers::*const by_number[16] = {
    &libprobe::registers::rax, &libprobe::registers::rcx, &libprobe::registers::rdx,
    &libprobe::registers::rbx, &libprobe::registers::rsp, &libprobe::registers::rbp,
    &libprobe::registers::rsi, &libprobe::registers::rdi, &libprobe::registers::r8,
    &libprobe::registers::r9,  &libprobe::registers::r10, &libprobe::registers::r11,
    &libprobe::registers::r12, &libprobe::registers::r13, &libprobe::registers::r14,
    &libprobe::registers::r15};

int before(libprobe::probe&, libprobe::registers& regs) {
  if (wanted == nullptr) return 0;
  for (int i = 0; i < 16; ++i) regs.*by_number[i] = wanted->gpr[i];
  regs.rflags = wanted->rflags;
  return 0;
}

void after(libprobe::probe&, libprobe::registers& regs) {
  ++runs_after;
  for (int i = 0; i < 16; ++i) seen_after.gpr[i] = regs.*by_number[i];
  seen_after.rflags = regs.rflags;
  seen_after.rip = regs.rip;
  if (change_after) regs.r15 ^= register_by_register;
}

bool has_after(way how) { return how == way::after || how == way::step_after; }
bool steps(way how) { return how == way::step || how == way::step_after; }
const char* name_of(way how) {
  constexpr const char* names[] = {"plain", "after", "step", "step_after", "changed"};
  return names[static_cast<int>(how)];
}

/// A state that shares nothing with the wanted one, and whose signal frame lies clear of what is compared.
cpu_state other_state(const cpu_state& state) {
  cpu_state other = state;
  for (auto& value : other.gpr) value = ~value * 0x9e3779b97f4a7c15;
  other.gpr[rsp] = stack_pointer() - 16 * 1024;
  other.rflags = state.rflags ^ (carry | parity | adjust | zero | sign | overflow | direction);
  return other;
}

struct prepared {
  const subject* what;
  std::vector<outcome> expected;
  bool emulated, branch;  // branches are emulated even where single_step is asked for
};

/// One subject's trials under an armed probe.
class probed_runs {
 public:
  probed_runs(const prepared& subject, way how)
      : what_{*subject.what},
        expected_{subject.expected},
        traps_again_{steps(how) ? !subject.branch : how == way::after && !subject.emulated},
        how_{how} {}

  void run_all(const libprobe::probe& probe, tally& sum) {
    std::uint64_t hits = 0;
    for (std::size_t i = 0; i < what_.trials.size(); ++i) {
      // A trap behind the copy needs a stack to arrive on.
      if (traps_again_ && !on_stack(expected_[i].out.gpr[rsp])) {
        ++sum.skipped;
        continue;
      }
      ++hits;
      ++sum.runs;
      if (expected_[i].raised.signo != 0) ++sum.faults;
      report(i, run_one(i), sum);
    }
    if (libprobe::hits(probe) != hits || libprobe::nmissed(probe) != 0) {
      report(
          0,
          fmt::format(" {} hits and {} missed of {}", libprobe::hits(probe), libprobe::nmissed(probe), hits),
          sum);
    }
  }

 private:
  std::string run_one(std::size_t i) {
    trial t = what_.trials[i];
    const cpu_state native = t.in;
    wanted = nullptr;
    if (how_ == way::changed) {
      wanted = &native;
      t.in = other_state(native);
      t.in.rip = native.rip;
    }
    change_after = how_ == way::step_after;
    runs_after = 0;
    outcome got = hardware::run(t, what_.far);
    const outcome& want = expected_[i];
    std::string text;
    const bool lands = want.raised.signo == 0;
    // A jump into nowhere has happened; it is the next instruction that faults.
    const bool completes = lands || want.out.rip != what_.address;
    if (runs_after != (has_after(how_) && completes ? 1 : 0))
      text += fmt::format(" {} post_handlers;", runs_after);
    if (runs_after != 0 && completes) {
      if (change_after) got.out.gpr[r15] ^= register_by_register;
      outcome seen = got;
      seen.out = seen_after;
      if (lands) seen.out.rip = 0;
      if (const auto differs = difference(want, seen, native.gpr[rsp]); !differs.empty())
        text += " post_handler saw" + differs;
      if (lands && seen_after.rip != what_.pads[want.landed])
        text +=
            fmt::format(" post_handler saw rip {:#x} not {:#x};", seen_after.rip, what_.pads[want.landed]);
    }
    return text + difference(want, got, native.gpr[rsp]);
  }

  void report(std::size_t i, const std::string& text, tally& sum) {
    static std::size_t told = 0;
    if (text.empty()) return;
    ++sum.failures;
    if (++told > reported) return;
    ADD_FAILURE() << what_.name << ", " << name_of(how_) << ", trial " << i << ":" << text;
  }

  const subject& what_;
  const std::vector<outcome>& expected_;
  bool traps_again_;
  way how_;
};

void run_group(std::span<prepared> group, std::span<const way> ways, tally& sum) {
  for (const way how : ways) {
    std::vector<std::unique_ptr<libprobe::probe>> probes;
    std::vector<libprobe::probe*> pointers;
    for (const auto& one : group) {
      auto& p = *probes.emplace_back(std::make_unique<libprobe::probe>());
      p.at = reinterpret_cast<const void*>(one.what->address);
      p.pre_handler = before;
      p.post_handler = has_after(how) ? after : nullptr;
      p.flags = steps(how) ? libprobe::probe_flags::single_step : libprobe::probe_flags::none;
      pointers.push_back(&p);
    }
    const auto error = libprobe::register_probes(pointers);
    if (error) {
      ++sum.failures;
      ADD_FAILURE() << "register_probes: " << error.message() << ": " << libprobe::last_error_detail()
                    << " near " << group.front().what->name;
      return;
    }
    for (std::size_t i = 0; i < group.size(); ++i) probed_runs{group[i], how}.run_all(*probes[i], sum);
    libprobe::unregister_probes(pointers);
  }
}

}  // namespace

tally& tally::operator+=(const tally& more) {
  subjects += more.subjects;
  refused += more.refused;
  runs += more.runs;
  faults += more.faults;
  skipped += more.skipped;
  failures += more.failures;
  for (std::size_t i = 0; i < methods.size(); ++i) methods[i] += more.methods[i];
  return *this;
}

void print(const char* what, const tally& sum) {
  fmt::print(
      "{}: {} instructions ({} emulated, {} copied), {} refused, {} probed runs, {} of them faults, "
      "{} skipped, {} failures\n",
      what, sum.subjects, sum.methods[0], sum.methods[1], sum.refused, sum.runs, sum.faults, sum.skipped,
      sum.failures);
}

tally compare_with_hardware(std::span<subject> subjects, std::span<const way> ways) {
  constexpr std::size_t trials_in_group = 512;
  tally sum;
  std::vector<prepared> group;
  std::size_t trials = 0;
  const auto flush = [&] {
    if (!group.empty()) run_group(group, ways, sum);
    group.clear();
    trials = 0;
  };
  for (auto& what : subjects) {
    const auto decoded = arch::decode({reinterpret_cast<const std::uint8_t*>(what.address), 15});
    const auto plan = decoded ? arch::plan(*decoded, what.address, false)
                              : libprobe::result<arch::displaced>{decoded.error()};
    if (!plan) {
      ++sum.refused;
      continue;
    }
    ++sum.subjects;
    ++sum.methods[static_cast<std::size_t>(plan->how)];
    auto& one = group.emplace_back(
        prepared{&what, {}, plan->how == arch::displaced::method::emulate, arch::is_branch(*plan)});
    for (auto& t : what.trials) {
      t.in.rip = what.address;
      one.expected.push_back(run(t, what.far));
    }
    trials += what.trials.size();
    if (trials >= trials_in_group) flush();
  }
  flush();
  return sum;
}

std::uint64_t flag_combination(unsigned n) noexcept {
  constexpr std::uint64_t flags[] = {carry, parity, adjust, zero, sign, overflow, direction};
  std::uint64_t value = fixed_flags;
  for (unsigned i = 0; i < std::size(flags); ++i) value |= (n >> i & 1) != 0 ? flags[i] : 0;
  return value;
}

void prepare() {
  static const bool once = [] {
    map_areas();
    install_fault_handlers();
    return true;
  }();
  static_cast<void>(once);
}

trial random_trial(rng& random) {
  trial t;
  for (auto& value : t.in.gpr) {
    constexpr std::uint64_t special[] = {0,
                                         1,
                                         ~std::uint64_t{0},
                                         0x7fff'ffff,
                                         0x8000'0000,
                                         0xffff'ffff,
                                         0x7fff'ffff'ffff'ffff,
                                         0x8000'0000'0000'0000,
                                         0x80,
                                         0x7f,
                                         0xff00,
                                         2};
    const auto kind = random() % 8;
    value = kind < 4 ? random() : kind < 6 ? special[random() % std::size(special)] : random() % 256;
  }
  t.in.gpr[rsp] = stack_pointer() + 64 * (random() % 8);
  t.in.rflags = flag_combination(static_cast<unsigned>(random() % 128));
  t.seed = random();
  return t;
}

std::uint8_t* take_code(const place& where, std::size_t size) {
  static std::uintptr_t next[2] = {near_place().code, far_place().code};
  auto& at = next[where.code == far_place().code ? 1 : 0];
  auto* taken = reinterpret_cast<std::uint8_t*>(at);
  at += size;
  return taken;
}

void write_pad(std::uintptr_t at, unsigned number) {
  static const char* const landings[] = {hardware_landing_0, hardware_landing_1, hardware_landing_2};
  const auto target = reinterpret_cast<std::uintptr_t>(landings[number]);
  const auto word = (at + 6 + 7) & ~std::uintptr_t{7};  // aligned, for tests that set AC
  const std::uint8_t jump[] = {0xff, 0x25, static_cast<std::uint8_t>(word - at - 6), 0, 0, 0};
  std::memcpy(reinterpret_cast<void*>(at), jump, sizeof jump);
  std::memcpy(reinterpret_cast<void*>(word), &target, sizeof target);
}

subject place_instruction(std::string name, std::span<const std::uint8_t> bytes, const place& where) {
  auto* code = take_code(where, bytes.size() + pad_size + 3);
  std::memcpy(code, bytes.data(), bytes.size());
  subject s;
  s.name = name.empty() ? hex(bytes) : name + ": " + hex(bytes);
  s.address = reinterpret_cast<std::uintptr_t>(code);
  s.pads[0] = s.address + bytes.size();
  write_pad(s.pads[0], 0);
  s.far = where.code == far_place().code;
  return s;
}

std::string hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const auto byte : bytes) text += fmt::format("{}{:02x}", text.empty() ? "" : " ", byte);
  return text;
}

}  // namespace hardware
