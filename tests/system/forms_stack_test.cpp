// push, pop, pushf, popf, leave, enter against the CPU.
#include "support/hardware_test.hpp"

namespace {

using namespace hardware;

constexpr std::uint64_t nested_task = 0x4000, alignment_check = 0x4'0000, identification = 0x20'0000;
constexpr std::uint64_t trap = 0x100;

class Stack : public forms_test {
 protected:
  /// The word on top of the stack.
  static void top(trial& t, std::uint64_t value) { t.words.push_back({t.in.gpr[rsp], value}); }
};

TEST_F(Stack, PushAndPopOfEveryRegister) {
  for (unsigned number = 0; number < 16; ++number) {
    for (const std::uint8_t prefix : {0x00, 0x48, 0x66, 0x67, 0x2e}) {
      for (const unsigned opcode : {0x50U, 0x58U}) {
        bytes code;
        if (prefix != 0 && prefix != 0x48) code.push_back(prefix);
        const auto rex = byte((prefix == 0x48 ? 0x48U : 0x40U) | (number > 7 ? 1U : 0U));
        if (rex != 0x40) code.push_back(rex);
        code.push_back(byte(opcode | (number & 7)));
        auto& s = add(opcode == 0x50 ? "push" : "pop", code, 6);
        for (std::size_t i = 0; i < 3; ++i) top(s.trials[i], stack_pointer() + 32 * i);  // good for rsp too
      }
    }
  }
  run("push, pop");
}

TEST_F(Stack, PushOfImmediates) {
  for (const std::int64_t value :
       {0LL, 1LL, -1LL, 127LL, -128LL, 0x7fff'ffffLL, -0x8000'0000LL, 0x1234'5678LL}) {
    for (const bool wide : {false, true}) {
      for (const bool word : {false, true}) {
        bytes code;
        if (word) code.push_back(0x66);
        code.push_back(wide ? 0x68 : 0x6a);
        append(code, static_cast<std::uint64_t>(value), !wide ? 1 : word ? 2 : 4);
        add("push", code, 2);
      }
    }
  }
  run("push of immediates");
}

TEST_F(Stack, PushAndPopOfMemory) {
  const bytes forms[] = {
      {0xff, 0x30},       {0xff, 0x74, 0x24, 0x10}, {0x8f, 0x00},       {0x8f, 0x44, 0x24, 0x10},
      {0x41, 0xff, 0x31}, {0x66, 0xff, 0x30},       {0x66, 0x8f, 0x00}, {0xff, 0x34, 0x24}};
  for (const auto& code : forms) {
    auto& s = add("push or pop", code, 8);
    const auto what = libprobe::arch::decode(code);
    ASSERT_TRUE(what);
    for (auto& t : s.trials) aim(*what, near_place().scratch + 4096, t, random_);
  }
  run("push and pop of memory");
}

TEST_F(Stack, PushOfFlags) {
  auto& s = add("pushf", {0x9c}, 128);
  for (unsigned i = 0; i < 128; ++i) {
    s.trials[i].in.rflags = flag_combination(i);
    if (i % 8 == 1) s.trials[i].in.rflags |= identification;
  }
  subjects_.push_back(place_instruction("pushfw", bytes{0x66, 0x9c}));
  subjects_.back().trials = subjects_.front().trials;
  run("pushf");
}

TEST_F(Stack, PopOfFlags) {
  for (const bytes& code : {bytes{0x9d}, bytes{0x66, 0x9d}}) {
    auto& s = add("popf", code, 256);
    for (unsigned i = 0; i < 256; ++i) {
      s.trials[i].in.rflags = flag_combination(static_cast<unsigned>(random_() % 128));
      // Random bits everywhere else: what user mode cannot change must stay.
      auto value = i < 128 ? flag_combination(i) : random_();
      value &= ~(trap | nested_task | alignment_check);
      top(s.trials[i], value);
    }
  }
  run("popf");
}

// With NT set, iretq faults: whoever resumes by it has to know.
TEST_F(Stack, NestedTaskFlag) {
  for (const bytes& code :
       {bytes{0x9d}, bytes{0x9c}, bytes{0x90}, bytes{0x48, 0x87, 0xd8}, bytes{0x01, 0xd8}}) {
    auto& s = add("NT", code, 8);
    for (unsigned i = 0; i < 8; ++i) {
      if ((i & 1) != 0) s.trials[i].in.rflags |= nested_task;
      top(s.trials[i], flag_combination(i) | ((i & 2) != 0 ? nested_task : 0));
    }
  }
  run("NT");
}

TEST_F(Stack, AlignmentCheckFlag) {
  for (const bytes& code :
       {bytes{0x9d}, bytes{0x9c}, bytes{0x90}, bytes{0x48, 0x87, 0xd8}, bytes{0x01, 0xd8}}) {
    auto& s = add("AC", code, 8);
    for (unsigned i = 0; i < 8; ++i) {
      if ((i & 1) != 0) s.trials[i].in.rflags |= alignment_check;
      top(s.trials[i], flag_combination(i) | ((i & 2) != 0 ? alignment_check : 0));
    }
  }
  run("AC");
}

TEST_F(Stack, LeaveAndEnter) {
  for (const bytes& code : {bytes{0xc9}, bytes{0x48, 0xc9}, bytes{0x66, 0xc9}, bytes{0x67, 0xc9}}) {
    auto& s = add("leave", code, 12);
    for (std::size_t i = 0; i < s.trials.size(); ++i) {
      auto& frame = s.trials[i].in.gpr[rbp];
      if (i < 6) frame = stack_pointer() + 512 + 8 * i;
      if (i == 6) frame = near_place().scratch + 128;
      if (i == 7) frame = unmapped();
      if (i == 8) frame = 0;
    }
  }
  const bytes enters[] = {{0xc8, 0, 0, 0}, {0xc8, 0x40, 0, 0}, {0xc8, 0x10, 0, 1}, {0xc8, 0x20, 0, 3}};
  for (const auto& code : enters) {
    auto& s = add("enter", code, 4);
    for (auto& t : s.trials) t.in.gpr[rbp] = stack_pointer() + 2048;
  }
  run("leave, enter");
}

// Beyond the 47 bits of user addresses a stack operand raises #SS, which Linux tells as SIGBUS, others #GP.
TEST_F(Stack, LeaveFromNowhere) {
  auto& s = add("leave", {0xc9}, 2);
  s.trials[0].in.gpr[rbp] = 0x8000'0000'0000'0000;
  s.trials[1].in.gpr[rbp] = 0x1234'5678'9abc'def0;
  run("leave from nowhere");
}

}  // namespace
