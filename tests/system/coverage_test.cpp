// How many of the instructions inside the functions of real libraries a probe can be placed at.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <string>

#include "arch/arch.hpp"
#include "support/library_text.hpp"

namespace {

namespace arch = libprobe::arch;

struct counts {
  std::size_t functions = 0, instructions = 0, accepted = 0;
  std::array<std::size_t, 3> methods{};  // by displaced::method
  std::map<std::string, std::size_t> refusals;
};

std::string hex(std::span<const std::uint8_t> code) {
  std::string text;
  for (const auto byte : code) text += fmt::format("{:02x} ", byte);
  return text;
}

/// Decode, plan, and the code for a slot 16 MiB away: what registration does.
void try_instruction(const arch::instruction& what, std::uintptr_t address, counts& sum) {
  const auto plan = arch::plan(what, address, false);
  if (!plan) {
    ++sum.refusals["plan: " + hex({what.bytes, what.opcode_offset + 1U})];
    return;
  }
  if (plan->how != arch::displaced::method::emulate) {
    std::array<std::uint8_t, 2 * arch::slot_unit> code;
    const auto layout = arch::emit(*plan, address, (address - (16U << 20)) & ~std::uintptr_t{63},
                                   address + plan->length, code);
    if (!layout) {
      ++sum.refusals["emit: " + hex({what.bytes, what.length})];
      return;
    }
  }
  ++sum.methods[static_cast<std::size_t>(plan->how)];
  ++sum.accepted;
}

counts sweep(const std::vector<library_text::function>& functions) {
  counts sum;
  for (const auto& f : functions) {
    ++sum.functions;
    const auto code = f.code();
    for (std::size_t at = 0; at < code.size();) {
      ++sum.instructions;
      const auto what = arch::decode(code.subspan(at));
      if (!what) {
        // Data inside a function ends the sweep: what follows has no known boundary.
        ++sum.refusals["decode: " + f.name + fmt::format("+{:#x}: ", at) +
                       hex(code.subspan(at, std::min<std::size_t>(8, code.size() - at)))];
        break;
      }
      try_instruction(*what, f.start + at, sum);
      at += what->length;
    }
  }
  return sum;
}

class Coverage : public testing::TestWithParam<const char*> {};

TEST_P(Coverage, InstructionsInsideFunctions) {
  const std::string name = GetParam();
  const bool stripped = name.starts_with("libsqlite3");
  const auto functions =
      stripped ? library_text::unwind_functions_of(GetParam()) : library_text::functions_of(GetParam());
  if (functions.empty()) GTEST_SKIP() << name << " is not installed";
  const auto sum = sweep(functions);
  const double share = 100.0 * static_cast<double>(sum.accepted) / static_cast<double>(sum.instructions);
  fmt::print("{}: {} functions, {} instructions, {} accepted ({:.4f} %): {} emulated, {} copied\n", name,
             sum.functions, sum.instructions, sum.accepted, share, sum.methods[0], sum.methods[1]);
  int shown = 0;
  for (const auto& [reason, count] : sum.refusals) {
    if (++shown > 40) break;
    fmt::print("  refused {} times: {}\n", count, reason);
  }
  EXPECT_GT(sum.functions, 1000U);
  EXPECT_GE(share, 99.9);
}

INSTANTIATE_TEST_SUITE_P(Libraries, Coverage,
                         testing::Values("libc.so.6", "libstdc++.so.6", "libcrypto.so.3", "libsqlite3.so.0"),
                         [](const auto& param) {
                           const std::string name = param.param;
                           return name.substr(0, name.find_first_of(".+"));
                         });

}  // namespace
