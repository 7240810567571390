// Control transfers against the CPU: conditions, loops, calls, jumps, returns.
#include <sys/mman.h>

#include "support/hardware_test.hpp"

namespace {

using namespace hardware;

constexpr way plain_only[] = {way::plain};

class Branches : public forms_test {
 protected:
  /// opcode bytes and a displacement, landing place 1 at its target. Room on both sides.
  subject& add_relative(const char* name, bytes code, unsigned size, std::int64_t distance,
                        std::uint8_t* at = nullptr) {
    constexpr std::size_t before = 256, after = 512;
    if (at == nullptr) at = take_code(near_place(), before + after) + before;
    append(code, static_cast<std::uint64_t>(distance), size);
    std::memcpy(at, code.data(), code.size());
    subject s;
    s.name = fmt::format("{} {:+}: {}", name, distance, hex(code));
    s.address = reinterpret_cast<std::uintptr_t>(at);
    s.pads[0] = s.address + code.size();
    s.pads[1] = s.pads[0] + static_cast<std::uintptr_t>(distance);
    write_pad(s.pads[1], 1);
    write_pad(s.pads[0], 0);  // at distance 0 they are the same place
    return subjects_.emplace_back(std::move(s));
  }

  /// One subject's target for indirect transfers.
  static std::uintptr_t target_of(subject& s) {
    if (s.pads[1] == 0) {
      s.pads[1] = reinterpret_cast<std::uintptr_t>(take_code(near_place(), pad_size));
      write_pad(s.pads[1], 1);
    }
    return s.pads[1];
  }

  /// Code at `at` whose 32-bit displacements reach almost 2 GiB both ways.
  static std::uint8_t* wide_place() {
    static std::uint8_t* const middle = [] {
      constexpr std::uintptr_t at = 0x60'0000'0000, reach = 0x7fff'0000;
      for (const auto page : {at - reach, at, at + reach}) {
        mmap(reinterpret_cast<void*>(page - 4096), 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      }
      return reinterpret_cast<std::uint8_t*>(at);
    }();
    return middle;
  }
};

constexpr std::int64_t short_distances[] = {127, -128, 0, 24, -40};
constexpr std::int64_t long_distances[] = {0, 200, -200, 0x7fff'0000, -0x7fff'0000};

TEST_F(Branches, ConditionsOverAllFlags) {
  const auto all_flags = [&](subject& s) {
    for (unsigned i = 0; i < 128; ++i) {
      s.trials.push_back(random_trial(random_));
      s.trials.back().in.rflags = flag_combination(i);
    }
  };
  std::size_t used = 0;
  for (unsigned condition = 0; condition < 16; ++condition) {
    for (const auto distance : short_distances)
      all_flags(add_relative("jcc", {byte(0x70 | condition)}, 1, distance));
    for (const auto distance : long_distances) {
      const bool far = distance > 1000 || distance < -1000;
      all_flags(add_relative("jcc", {0x0f, byte(0x80 | condition)}, 4, distance,
                             far ? wide_place() + 32 * used++ : nullptr));
    }
  }
  run("jcc", plain_only);
  for (unsigned condition = 0; condition < 16; ++condition) {
    all_flags(add_relative("jcc", {0x3e, byte(0x70 | condition)}, 1, 64));
    all_flags(add_relative("jcc", {0xf2, 0x0f, byte(0x80 | condition)}, 4, -64));
  }
  run("jcc in every way");
}

TEST_F(Branches, LoopsAndCounters) {
  constexpr std::uint64_t counters[] = {0,
                                        1,
                                        2,
                                        0xffff'ffff,
                                        0x1'0000'0000,
                                        0x1'0000'0001,
                                        0x1'0000'0002,
                                        ~std::uint64_t{0},
                                        0x8000'0000'0000'0000,
                                        0xffff'ffff'0000'0001};
  for (unsigned opcode = 0xe0; opcode <= 0xe3; ++opcode) {
    for (const bool short_address : {false, true}) {
      for (const auto distance : short_distances) {
        bytes code;
        if (short_address) code.push_back(0x67);
        code.push_back(byte(opcode));
        auto& s = add_relative(opcode == 0xe3 ? "jrcxz" : "loop", code, 1, distance);
        for (const auto counter : counters) {
          for (unsigned flags = 0; flags < 128; flags += 5) {
            s.trials.push_back(random_trial(random_));
            s.trials.back().in.gpr[rcx] = counter;
            s.trials.back().in.rflags = flag_combination(flags);
          }
        }
        for (int i = 0; i < 4; ++i) s.trials.push_back(random_trial(random_));
      }
    }
  }
  run("loop, jrcxz");
}

TEST_F(Branches, DirectJumpsAndCalls) {
  std::size_t used = 64;
  const auto trials = [&](subject& s) {
    for (int i = 0; i < 4; ++i) s.trials.push_back(random_trial(random_));
  };
  for (const auto distance : short_distances) trials(add_relative("jmp", {0xeb}, 1, distance));
  for (const auto distance : long_distances) {
    const bool far = distance > 1000 || distance < -1000;
    const bytes forms[] = {{0xe8},
                           {0xe9},
                           {0xf2, 0xe8},
                           {0xf2, 0xe9},
                           {0x48, 0xe8},
                           {0x66, 0x66, 0x48, 0xe8},
                           {0x66, 0x48, 0xe9}};
    for (const auto& code : forms)
      trials(add_relative("jmp or call", code, 4, distance, far ? wide_place() + 32 * used++ : nullptr));
  }
  run("jmp, call");
}

TEST_F(Branches, ThroughRegisters) {
  for (unsigned number = 0; number < 16; ++number) {
    for (const unsigned group : {2U, 4U}) {
      for (const std::uint8_t prefix : {0x00, 0x3e, 0xf2, 0x48}) {
        bytes code;
        if (prefix != 0 && prefix != 0x48) code.push_back(prefix);
        const auto rex = byte((prefix == 0x48 ? 0x48U : 0x40U) | (number > 7 ? 1U : 0U));
        if (rex != 0x40) code.push_back(rex);
        code.push_back(0xff);
        code.push_back(byte(0xc0U | group << 3 | (number & 7)));
        auto& s = add(group == 2 ? "call" : "jmp", code, 3);
        for (auto& t : s.trials) {
          if (number != rsp) {
            t.in.gpr[number] = target_of(s);
            continue;
          }
          // The landing place lies on the stack, where rsp points.
          alignas(16) std::uint8_t pad[16] = {};
          write_pad(reinterpret_cast<std::uintptr_t>(pad), 1);
          for (std::size_t i = 0; i < 2; ++i) {
            std::uint64_t word = 0;
            std::memcpy(&word, pad + 8 * i, sizeof word);
            t.words.push_back({t.in.gpr[rsp] + 8 * i, word});
          }
          t.in.gpr[rsp] = stack_pointer();
          t.words[0].address = stack_pointer();
          t.words[1].address = stack_pointer() + 8;
          s.pads[1] = stack_pointer();
        }
      }
    }
  }
  run("call, jmp through registers");
}

TEST_F(Branches, ThroughMemory) {
  const auto& here = near_place();
  for (int i = 0; i < 1500; ++i) {
    const auto r = random_();
    bytes code;
    const bool short_address = (r & 3) == 0, thread = (r >> 2 & 7) == 0;
    if (short_address) code.push_back(0x67);
    if (thread) code.push_back(0x64);
    const auto rex = byte(0x40 | (r >> 8 & 15));
    if (rex != 0x40) code.push_back(rex);
    code.push_back(0xff);
    const unsigned mod = (r >> 12) % 3;
    const unsigned rm = i % 3 == 0 ? r >> 16 & 7 : 4;
    const bool rip = mod == 0 && rm == 5;
    if (rip && (short_address || thread)) continue;
    code.push_back(byte(mod << 6 | ((r >> 20 & 1) != 0 ? 0x20U : 0x10U) | rm));
    const auto sib = byte(r >> 32);
    if (rm == 4) code.push_back(sib);
    const bool absolute = mod == 0 && rm == 4 && (sib & 7) == 5;
    append(code, absolute && !thread ? here.scratch + 4096 + (r >> 40 & 0xff) : 64 + (r >> 40 & 0x1f),
           mod == 1                      ? 1
           : mod == 2 || rip || absolute ? 4
                                         : 0);
    auto& s = add("call or jmp", code, 3);
    const std::uintptr_t operand = here.scratch + 8192 + 8 * (r >> 50 & 63);
    if (rip) {
      const auto displacement = static_cast<std::uint32_t>(operand - s.pads[0]);
      std::memcpy(reinterpret_cast<void*>(s.pads[0] - 4), &displacement, 4);
    }
    const auto what = libprobe::arch::decode({reinterpret_cast<const std::uint8_t*>(s.address), code.size()});
    ASSERT_TRUE(what) << s.name;
    const auto base = thread ? tls_base() : 0;
    for (auto& t : s.trials) {
      t.words.push_back({aim(*what, thread ? tls_offset() + 32 : operand, t, random_) + base, target_of(s)});
      const bool there =
          (t.words[0].address >= here.scratch && t.words[0].address < here.scratch + scratch_size - 8) ||
          on_compared_stack(t.words[0].address) || t.words[0].address - base - tls_offset() < 200;
      if (!there) t.words.clear();  // the operand is wherever it is: both must fault
    }
  }
  const auto sum = run("call, jmp through memory");
  EXPECT_LT(sum.faults, sum.runs / 4);
}

TEST_F(Branches, Returns) {
  for (const std::uint8_t prefix : {0x00, 0xf3, 0xf2, 0x48, 0x3e}) {
    for (const int pops : {-1, 0, 8, 16, 1, 0x400, 0x7ff8, 0x8000, 0xffff}) {
      bytes code;
      if (prefix != 0) code.push_back(prefix);
      code.push_back(pops < 0 ? 0xc3 : 0xc2);
      if (pops >= 0) append(code, static_cast<std::uint64_t>(pops), 2);
      auto& s = add("ret", code, 4);
      for (auto& t : s.trials) t.words.push_back({t.in.gpr[rsp], target_of(s)});
    }
  }
  run("ret");
}

// A jump to where nothing is mapped faults at its target; one to an address that no page can have, by itself.
TEST_F(Branches, IntoNowhere) {
  for (const std::uint64_t target :
       {std::uint64_t{unmapped()}, std::uint64_t{0}, std::uint64_t{0x7fff'ffff'f000},
        std::uint64_t{0x8000'0000'0000}, std::uint64_t{0x1234'5678'9abc'def0}, ~std::uint64_t{0}}) {
    const auto name = fmt::format("to {:#x}", target);
    for (const bytes& code : {bytes{0xff, 0xe0}, bytes{0xff, 0xd0}}) {
      for (auto& t : add(name.c_str(), code, 2).trials) t.in.gpr[rax] = target;
    }
    for (const bytes& code : {bytes{0xff, 0x20}, bytes{0xff, 0x10}}) {
      for (auto& t : add(name.c_str(), code, 2).trials) {
        t.in.gpr[rax] = near_place().scratch;
        t.words.push_back({near_place().scratch, target});
      }
    }
    for (auto& t : add(name.c_str(), {0xc3}, 2).trials) t.words.push_back({t.in.gpr[rsp], target});
    for (auto& t : add(name.c_str(), {0xc2, 8, 0}, 2).trials) t.words.push_back({t.in.gpr[rsp], target});
  }
  run("into nowhere");
}

// Operands that are not there.
TEST_F(Branches, FromNowhere) {
  for (const std::uint64_t operand : {std::uint64_t{unmapped()}, std::uint64_t{unmapped() - 4},
                                      std::uint64_t{0}, std::uint64_t{0x8000'0000'0000'0000}}) {
    for (const bytes& code : {bytes{0xff, 0x20}, bytes{0xff, 0x10}, bytes{0x41, 0xff, 0x20}}) {
      for (auto& t : add("from nowhere", code, 2).trials) t.in.gpr[rax] = t.in.gpr[r8] = operand;
    }
    for (const bytes& code : {bytes{0xff, 0x65, 0x00}, bytes{0xff, 0x55, 0x08}, bytes{0xff, 0x54, 0x05, 0x00},
                              bytes{0xff, 0x54, 0x28, 0x00}, bytes{0xff, 0x14, 0x2c}}) {
      for (auto& t : add("from nowhere", code, 2).trials) {
        t.in.gpr[rbp] = operand;
        t.in.gpr[rax] = operand / 2;
      }
    }
  }
  const auto sum = run("from nowhere");
  EXPECT_EQ(sum.faults, sum.runs);
}

}  // namespace
