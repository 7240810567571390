#include "every_instruction.hpp"

#include <alloca.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <link.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <libprobe/libprobe.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "arch/arch.hpp"
#include "stepping.hpp"
#include "symbols/symbols.hpp"

namespace every_instruction {

namespace {

namespace arch = libprobe::arch;
namespace symbols = libprobe::symbols;
using libprobe::probe;

struct range {
  std::uintptr_t start = 0, end = 0;
};

range text_of(const char* module) {
  struct search {
    const char* name;
    range found;
  } wanted{module, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& s = *static_cast<search*>(data);
        if (std::strstr(info->dlpi_name, s.name) == nullptr) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
          s.found = {info->dlpi_addr + segment.p_vaddr, info->dlpi_addr + segment.p_vaddr + segment.p_memsz};
        }
        return 1;
      },
      &wanted);
  return wanted.found;
}

struct target {
  std::uintptr_t address;
  std::uint64_t executed;
  bool behind_syscall;  // where stepping does not count well
};

struct targets {
  std::vector<target> all;
  std::size_t functions = 0, denied = 0, refused = 0;
};

/// Every instruction of the functions that were executed.
targets targets_in(const range& text, const std::unordered_map<std::uintptr_t, std::uint64_t>& executions) {
  std::map<std::uintptr_t, std::uintptr_t> extents;
  for (const auto& [address, count] : executions) {
    if (address < text.start || address >= text.end) continue;
    const auto next = extents.upper_bound(address);
    if (next != extents.begin() && std::prev(next)->second > address) continue;
    if (const auto extent = symbols::function_at(address)) extents.emplace(extent->start, extent->end);
  }
  targets found;
  for (const auto& [start, end] : extents) {
    ++found.functions;
    bool behind_syscall = false;
    for (auto at = start; at < end;) {
      const auto what = arch::decode({reinterpret_cast<const std::uint8_t*>(at), end - at});
      if (!what) break;
      if (symbols::probeable(at) != libprobe::errc::ok) {
        ++found.denied;
      } else if (!arch::plan(*what, at, false)) {
        ++found.refused;
      } else {
        const auto executed = executions.find(at);
        found.all.push_back({at, executed == executions.end() ? 0 : executed->second, behind_syscall});
      }
      behind_syscall = what->map == arch::instruction::map_0f && what->opcode == 0x05;
      at += what->length;
    }
  }
  return found;
}

output said;

/// Always with the stack at the same place in a page: which way memcpy and its like take depends on it.
[[gnu::noinline]] void run(const work& what) {
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  auto* volatile padding = static_cast<char*>(alloca(here % 4096 + 16));
  padding[0] = 0;
  what.run(said);
}

std::string_view say(const work& what) {
  said.clear();
  run(what);
  return said.view();
}

int nothing_before(probe&, libprobe::registers&) { return 0; }
void nothing_after(probe&, libprobe::registers&) {}

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

void one_pass(const work& what, const targets& where, const std::string& expected, bool after) {
  std::vector<std::unique_ptr<probe>> probes;
  std::vector<probe*> pointers;
  for (const auto& t : where.all) {
    auto& p = *probes.emplace_back(std::make_unique<probe>());
    p.at = reinterpret_cast<const void*>(t.address);
    p.pre_handler = nothing_before;
    p.post_handler = after ? nothing_after : nullptr;
    pointers.push_back(&p);
  }
  std::vector<std::uint64_t> hits(probes.size()), missed(probes.size());
  const auto placing = std::chrono::steady_clock::now();
  const auto error = libprobe::register_probes(pointers);
  const auto placed = milliseconds_since(placing);
  ASSERT_FALSE(error) << what.name << ": " << error.message() << ": " << libprobe::last_error_detail();

  // Between the two snapshots nothing runs but the work.
  const auto running = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < probes.size(); ++i) {
    hits[i] = libprobe::hits(*probes[i]);
    missed[i] = libprobe::nmissed(*probes[i]);
  }
  said.clear();
  run(what);
  std::uint64_t sum = 0, sum_missed = 0;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    sum += hits[i] = libprobe::hits(*probes[i]) - hits[i];
    sum_missed += missed[i] = libprobe::nmissed(*probes[i]) - missed[i];
  }
  const auto ran = milliseconds_since(running);
  libprobe::unregister_probes(pointers);

  EXPECT_EQ(said.view(), expected) << what.name;
  EXPECT_EQ(say(what), expected) << what.name << ", the probes taken away";
  std::uint64_t executed = 0;
  std::size_t different = 0;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    const auto& t = where.all[i];
    executed += t.executed;
    if (hits[i] == t.executed || t.behind_syscall) continue;
    if (++different > 5 || what.exact < 1.0) continue;
    const auto place = symbols::describe(t.address);
    ADD_FAILURE() << what.name << ": " << place.symbol << '+' << place.offset << " executed " << t.executed
                  << ", hit " << hits[i];
  }
  const auto exact = 1.0 - static_cast<double>(different) / static_cast<double>(probes.size());
  fmt::print(
      "{}{}: {} functions, {} probes ({} denied, {} refused), {} executions, {} hits, {} missed, {:.3f} % "
      "exact, "
      "placed in {:.0f} ms, ran {:.0f} ms\n",
      what.name, after ? " with post_handlers" : "", where.functions, probes.size(), where.denied,
      where.refused, executed, sum, sum_missed, 100 * exact, placed, ran);
  EXPECT_EQ(sum_missed, 0U) << what.name;
  EXPECT_GE(exact, what.exact) << what.name;
  EXPECT_GT(static_cast<double>(sum), 0.9 * static_cast<double>(executed)) << what.name;
  EXPECT_LT(static_cast<double>(sum), 1.1 * static_cast<double>(executed)) << what.name;
}

}  // namespace

void check(const work& what) {
  const std::string expected{say(what)};
  ASSERT_EQ(say(what), expected) << what.name << " is not the same each time";
  said.clear();
  const auto executions = stepping::executions_of([&] { run(what); });
  ASSERT_EQ(said.view(), expected);
  const auto where = targets_in(text_of(what.module), executions);
  ASSERT_FALSE(where.all.empty()) << what.name;
  EXPECT_EQ(where.refused, 0U) << what.name;
  one_pass(what, where, expected, false);
  if (what.post_handlers) one_pass(what, where, expected, true);
}

}  // namespace every_instruction
