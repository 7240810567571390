// Loaded into a program by LD_PRELOAD: how many of a module's instructions a jump can reach, each on its own,
// and how many of its functions' entries, all at once. Plans only: no text is written.
#include <fmt/format.h>

#include <unistd.h>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/jump_planner.hpp"
#include "tests/support/library_text.hpp"

namespace {

using namespace libprobe;

constexpr std::array tactic_names = {"breakpoint", "over_long", "punned", "prefixed", "over_several"};

struct tally {
  std::array<std::size_t, tactic_names.size()> by_tactic{};
  std::map<std::string, std::size_t> reasons;

  void add(const site::site& at) {
    ++by_tactic[static_cast<std::size_t>(at.jump != nullptr ? at.jump->shape.how : arch::tactic::breakpoint)];
    if (at.jump == nullptr) ++reasons[at.why_trap];
  }
  void print(const char* what, const std::string& of, const std::string& memory) const {
    std::size_t sum = 0;
    for (const auto count : by_tactic) sum += count;
    const auto share = [sum](std::size_t count) {
      return 100.0 * static_cast<double>(count) / static_cast<double>(sum);
    };
    std::string text =
        fmt::format("{:<16} {:<22} {:>7}: {:6.2f} % trap-free;", of, what, sum, 100.0 - share(by_tactic[0]));
    for (std::size_t i = 1; i < by_tactic.size(); ++i)
      text += fmt::format(" {} {:.1f} %", tactic_names[i], share(by_tactic[i]));
    fmt::print("{}{}\n", text, memory);
    for (const auto& [why, count] : reasons) fmt::print("{:>40} {:.2f} %: {}\n", "", share(count), why);
  }
};

struct planner {
  control::function_text functions;
  control::slot_store slots;
  control::jump_planner jumps{functions, slots};
  std::string detail;

  std::unique_ptr<site::site> plan(std::uintptr_t address, std::uint32_t taken) {
    const auto what = functions.instruction_at(address, false, detail);
    if (!what) return nullptr;
    const auto plan = arch::plan(*what, address, false);
    if (!plan) return nullptr;
    auto at = std::make_unique<site::site>();
    at->address = address;
    at->plan = *plan;
    jumps.choose(*at, taken, {});
    return at;
  }
};

/// Nothing is kept from one to the next: each finds the process as it is without probes.
void cover_singly(const std::vector<library_text::function>& functions, const std::string& name) {
  tally sum;
  planner p;
  p.jumps.hops().expect(1);
  for (const auto& f : functions) {
    const auto code = f.code();
    for (std::size_t at = 0; at < code.size();) {
      const auto what = arch::split(code.subspan(at));
      if (!what) break;
      if (const auto site = p.plan(f.start + at, 0)) sum.add(*site);
      p.slots.drop();
      p.jumps.hops().drop();
      at += what->length;
    }
  }
  sum.print("instructions, singly", name, "");
}

void cover_entries(const std::vector<library_text::function>& functions, const std::string& name) {
  tally sum;
  planner p;
  std::vector<std::unique_ptr<site::site>> sites;
  p.jumps.hops().expect(functions.size());
  for (std::size_t i = 0; i < functions.size(); ++i) {
    std::uint32_t taken = 0;
    for (auto n = i + 1;
         n < functions.size() && functions[n].start < functions[i].start + arch::longest_window; ++n)
      taken |= 1U << (functions[n].start - functions[i].start);
    if (auto site = p.plan(functions[i].start, taken)) {
      sum.add(*site);
      sites.push_back(std::move(site));
    }
  }
  p.slots.write();
  p.jumps.hops().write();
  const auto probes = static_cast<double>(sites.size());
  sum.print("entries, all at once", name,
            fmt::format("; {:.0f} bytes of hops and {:.0f} of detours a probe",
                        static_cast<double>(p.jumps.hops().bytes()) / probes,
                        static_cast<double>(p.slots.chunks() * site::chunk_size) / probes));
}

[[gnu::constructor]] void cover() {
  const char* const module = std::getenv("JUMP_COVERAGE_OF");
  if (module == nullptr) return;
  const std::string name = *module != '\0' ? module : program_invocation_short_name;
  const auto functions = library_text::unwind_functions_of(*module != '\0' ? module : nullptr);
  cover_entries(functions, name);
  cover_singly(functions, name);
  std::fflush(stdout);
  _exit(0);
}

}  // namespace
