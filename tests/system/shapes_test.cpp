// Probes at every instruction of functions of awkward shapes, alone and all at once: results as without, hits
// exactly as often as the CPU itself, stepping under the trap flag, executes them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <libprobe/libprobe.hpp>
#include <map>
#include <memory>
#include <vector>

#include "arch/arch.hpp"
#include "support/stepping.hpp"
#include "symbols/symbols.hpp"

#define SHAPES(each)                                                                                     \
  each(lone_ret) each(rep_ret) each(xor_ret) each(push_pop_ret) each(endbr_ret) each(bnd_ret)            \
      each(loop_to_byte_2) each(loop_to_byte_2_from_afar) each(loop_to_byte_1) each(loop_to_entry)       \
          each(jrcxz_first) each(jecxz_first) each(jcc_first) each(call_next_pop) each(call_plus_5)      \
              each(short_jump_first) each(behind_the_data) each(jump_plus_0) each(rip_relative_first)    \
                  each(rip_relative_stores) each(call_first) each(call_memory_first) each(tail_jump)     \
                      each(pushes_arguments) each(pops_arguments) each(frame) each(flags) each(red_zone) \
                          each(switch) each(recursion) each(strings)

extern "C" {
std::uint64_t shape_call(void (*function)(), std::uint64_t argument);
#define DECLARE(name) void shape_##name();
SHAPES(DECLARE)
#undef DECLARE
}

namespace {

using libprobe::probe;
using libprobe::probe_flags;

struct shape {
  const char* name;
  void (*function)();
};
constexpr shape shapes[] = {
#define ROW(name) {#name, shape_##name},
    SHAPES(ROW)
#undef ROW
};
constexpr std::uint64_t arguments[] = {1, 2, 3, 40};  // 0 would make the loops run for ever

struct facts {
  std::vector<std::uintptr_t> instructions;
  std::vector<std::uint64_t> results;                  // by argument
  std::map<std::uintptr_t, std::uint64_t> executions;  // over all arguments, callees included
};

/// Before libprobe is first used, see stepping.
std::vector<facts> observe() {
  std::vector<facts> all;
  for (const auto& s : shapes) {
    facts f;
    for (const auto argument : arguments) {
      f.results.push_back(shape_call(s.function, argument));
      const auto counts = stepping::executions_of([&] { shape_call(s.function, argument); });
      for (const auto& [address, count] : counts) f.executions[address] += count;
    }
    const auto extent = libprobe::symbols::function_at(reinterpret_cast<std::uintptr_t>(s.function));
    for (auto at = extent->start; at < extent->end;) {
      f.instructions.push_back(at);
      const auto what = libprobe::arch::decode({reinterpret_cast<const std::uint8_t*>(at), 15});
      if (!what) break;
      at += what->length;
    }
    all.push_back(std::move(f));
  }
  return all;
}

int nothing_before(probe&, libprobe::registers&) { return 0; }
void nothing_after(probe&, libprobe::registers&) {}

struct manner {
  const char* name;
  probe_flags flags;
  bool after;
};
void PrintTo(const manner& how, std::ostream* out) { *out << how.name; }
constexpr manner manners[] = {{"plain", probe_flags::none, false},
                              {"after", probe_flags::none, true},
                              {"no_jump", probe_flags::no_jump, false},
                              {"step", probe_flags::single_step, false},
                              {"step_after", probe_flags::single_step, true}};

class Shapes : public testing::TestWithParam<manner> {
 protected:
  static void SetUpTestSuite() {
    if (known_.empty()) known_ = observe();
  }

  /// A probe at each of the addresses; calls the functions; takes the probes away.
  static void check(std::span<const std::uintptr_t> addresses, std::span<const std::size_t> called) {
    const auto& how = GetParam();
    std::vector<std::unique_ptr<probe>> probes;
    std::vector<probe*> pointers;
    for (const auto address : addresses) {
      auto& p = *probes.emplace_back(std::make_unique<probe>());
      p.at = reinterpret_cast<const void*>(address);
      p.pre_handler = nothing_before;
      p.post_handler = how.after ? nothing_after : nullptr;
      p.flags = how.flags;
      pointers.push_back(&p);
    }
    const auto error = libprobe::register_probes(pointers);
    ASSERT_FALSE(error) << error.message() << ": " << libprobe::last_error_detail();
    std::map<std::uintptr_t, std::uint64_t> expected;
    for (const auto index : called) {
      for (std::size_t i = 0; i < std::size(arguments); ++i) {
        EXPECT_EQ(shape_call(shapes[index].function, arguments[i]), known_[index].results[i])
            << shapes[index].name << '(' << arguments[i] << ") with " << addresses.size()
            << " probes, the first at " << libprobe::symbols::describe(addresses.front()).symbol << '+'
            << libprobe::symbols::describe(addresses.front()).offset;
      }
      for (const auto& [address, count] : known_[index].executions) expected[address] += count;
    }
    for (const auto* p : pointers) {
      const auto address = reinterpret_cast<std::uintptr_t>(libprobe::address_of(*p));
      const auto where = libprobe::symbols::describe(address);
      EXPECT_EQ(hits(*p), expected[address]) << where.symbol << '+' << where.offset;
      EXPECT_EQ(nmissed(*p), 0U) << where.symbol << '+' << where.offset;
    }
    libprobe::unregister_probes(pointers);
  }

  static inline std::vector<facts> known_;
};

TEST_P(Shapes, EachInstructionAlone) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < std::size(shapes); ++i) {
    for (const auto address : known_[i].instructions) {
      check({&address, 1}, {&i, 1});
      ++count;
    }
  }
  fmt::print("{} functions, {} instructions, one probe at a time\n", std::size(shapes), count);
}

TEST_P(Shapes, EveryInstructionOfOneFunction) {
  for (std::size_t i = 0; i < std::size(shapes); ++i) check(known_[i].instructions, {&i, 1});
}

TEST_P(Shapes, EveryInstructionOfAllFunctions) {
  std::vector<std::uintptr_t> addresses;
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < std::size(shapes); ++i) {
    addresses.insert(addresses.end(), known_[i].instructions.begin(), known_[i].instructions.end());
    all.push_back(i);
  }
  check(addresses, all);
}

INSTANTIATE_TEST_SUITE_P(Manners, Shapes, testing::ValuesIn(manners),
                         [](const auto& param) { return std::string{param.param.name}; });

}  // namespace
