// Relocated copies against the CPU: every form of instruction that real libraries use.
#include <algorithm>
#include <map>
#include <optional>

#include "support/hardware_test.hpp"
#include "support/library_text.hpp"

namespace {

using namespace hardware;
namespace arch = libprobe::arch;
using arch::instruction;
using form = instruction::form;

constexpr const char* libraries[] = {"libc.so.6", "libcrypto.so.3", "libstdc++.so.6", "libsqlite3.so.0",
                                     "libm.so.6"};

bool in_memory(const instruction& what) { return what.has_modrm && what.mod() != 3; }

/// What makes two instructions the same form: all but registers, displacements and immediates.
std::string shape_of(const instruction& what) {
  std::string key = fmt::format("{} {:x} {:02x}", static_cast<int>(what.encoding), what.map, what.opcode);
  key += fmt::format(" {}{}{}{}{}{:02x}{}", what.operand_size, what.address_size, what.lock, what.repne,
                     what.rep, what.segment, what.rex_w());
  if (what.encoding == form::evex) {
    key += fmt::format(" {:02x}{:x}", what.bytes[what.opcode_offset - 1],
                       what.bytes[what.opcode_offset - 2] & 3);
  } else if (what.encoding != form::legacy) {
    key += fmt::format(" {:x}", what.bytes[what.opcode_offset - 1] & 7);
  }
  if (!what.has_modrm) return key + fmt::format(" i{}", what.immediate_size);
  const bool x87 =
      what.encoding == form::legacy && what.map == 0 && what.opcode >= 0xd8 && what.opcode <= 0xdf;
  const unsigned extension = (what.modrm >> 3) & 7U;
  if (!in_memory(what)) return key + fmt::format(" r{}", x87 ? what.modrm : extension);
  const bool base = !what.has_sib || (what.sib & 7) != 5 || what.mod() != 0;
  const bool index = what.has_sib && (((what.sib >> 3) & 7) != 4 || (what.rex & 2) != 0);
  return key +
         fmt::format(" m{} {}{}{}{}", extension, what.rip_relative, base, index, what.displacement_size);
}

/// What cannot be run here: it would take away the thread's fs base, has an effect on more than this thread,
/// takes for ever, or never gives the same twice. Everything else may fault: then it faults in the same way.
bool is_excluded(const instruction& what) {
  if (what.encoding != form::legacy) return false;
  const unsigned extension = (what.modrm >> 3) & 7U;
  if (what.map == instruction::one_byte) return what.opcode == 0x8e || what.opcode == 0xcd;
  if (what.map != instruction::map_0f) return false;
  switch (what.opcode) {
    case 0x01:
      return in_memory(what) || (what.modrm != 0xd0 && what.modrm != 0xd6);  // all but xgetbv and xtest
    case 0x05:                                                               // syscall
    case 0x31:                                                               // rdtsc
    case 0x33:                                                               // rdpmc
    case 0xa1:                                                               // pop to fs, gs
    case 0xa9:
    case 0xb2:  // lss, lfs, lgs
    case 0xb4:
    case 0xb5:
      return true;
    case 0xae:  // saved state differs by what the CPU has in use; wrfsbase; tpause and the like
      return in_memory(what) ? extension < 2 || (extension > 3 && extension < 7 && !what.operand_size)
                             : what.rep || what.repne || (what.operand_size && extension == 6);
    case 0xc7:  // xsave and the like, rdrand, rdseed
      return in_memory(what) ? extension != 1 : extension >= 6 && !what.rep;
    default:
      return false;
  }
}

bool gathers(const instruction& what) {
  const bool vector_index = (what.opcode >= 0x90 && what.opcode <= 0x93) ||
                            (what.opcode >= 0xa0 && what.opcode <= 0xa3) || what.opcode == 0xc6 ||
                            what.opcode == 0xc7;
  return what.encoding != form::legacy && what.map == instruction::map_0f38 && vector_index &&
         in_memory(what);
}

class Copied : public forms_test {
 protected:
  /// Up to `most` different instructions of each form, or of one form in so many.
  std::vector<instruction> collect(std::size_t most, std::size_t one_in) {
    std::map<std::string, std::vector<instruction>> forms;
    std::size_t seen = 0;
    for (const char* library : libraries) {
      for (const auto& f : library_text::functions_of(library)) {
        const auto code = f.code();
        for (std::size_t at = 0; at < code.size();) {
          const auto what = arch::decode(code.subspan(at));
          if (!what) break;
          at += what->length;
          ++seen;
          const auto plan = arch::plan(*what, f.start, false);
          if (!plan || arch::is_branch(*plan) || is_excluded(*what)) continue;
          auto& same = forms[shape_of(*what)];
          const bool known = std::any_of(same.begin(), same.end(), [&](const instruction& other) {
            return std::memcmp(other.bytes, what->bytes, arch::max_instruction_length) == 0;
          });
          if (known) continue;
          if (same.size() < most) {
            same.push_back(*what);
          } else if (random_() % 16 == 0) {
            same[random_() % most] = *what;
          }
        }
      }
    }
    std::vector<instruction> all;
    std::size_t number = 0;
    for (const auto& [key, same] : forms) {
      if (number++ % one_in == 0) all.insert(all.end(), same.begin(), same.end());
    }
    fmt::print("{} instructions seen, {} forms, {} to be tried\n", seen, forms.size(), all.size());
    return all;
  }

  static std::uintptr_t target_in(const instruction& what, const place& where) {
    return what.segment == 0x64 ? tls_offset() + 64 : where.scratch + scratch_size / 4;
  }

  /// The instruction's bytes, with a displacement that is right where no register can be made so.
  static bytes with_displacement(const instruction& what, std::uintptr_t at, std::uintptr_t target) {
    bytes code{what.bytes, what.bytes + what.length};
    const auto put = [&](std::uint64_t value) {
      std::memcpy(&code[what.displacement_offset], &value, what.displacement_size);
    };
    const bool has_base = !what.has_sib || (what.sib & 7) != 5 || what.mod() != 0;
    const bool has_index = what.has_sib && (((what.sib >> 3) & 7) != 4 || (what.rex & 2) != 0);
    const bool on_stack = what.has_sib && (what.sib & 7) == 4 && (what.rex & 1) == 0;
    if (!what.has_modrm && what.displacement_size != 0) {
      put(target);  // moffs
    } else if (in_memory(what) && what.rip_relative) {
      put(target - at - what.length);
    } else if (in_memory(what) && !has_base && (!has_index || gathers(what))) {
      put(target);
    } else if (in_memory(what) && on_stack && what.displacement_size == 4 &&
               (what.displacement < -64 || what.displacement > 4096)) {
      put(64);
    }
    return code;
  }

  /// Registers that the instruction uses without naming them, or as offsets.
  static void set_implicit(const instruction& what, trial& t, std::uintptr_t target, rng& random) {
    if (what.encoding != form::legacy) {
      if (what.opcode == 0xf7 && what.map == instruction::map_0f) t.in.gpr[rdi] = target;  // vmaskmovdqu
      return;
    }
    const auto opcode = what.opcode;
    if (what.map == instruction::one_byte) {
      const bool string = (opcode >= 0xa4 && opcode <= 0xa7) || (opcode >= 0xaa && opcode <= 0xaf);
      if (string) {
        t.in.gpr[rsi] = target + random() % 64;
        t.in.gpr[rdi] = target + random() % 128;
        t.in.gpr[rcx] = random() % 20;
      }
      if (opcode == 0x9d)
        t.words.push_back({t.in.gpr[rsp], flag_combination(static_cast<unsigned>(random()))});
      if (opcode == 0xd7) t.in.gpr[rbx] = target;  // xlat
      if ((opcode == 0xf6 || opcode == 0xf7) && random() % 2 == 0)
        t.in.gpr[rdx] = 0;  // div, without overflow
    } else if (what.map == instruction::map_0f) {
      if (opcode == 0xf7) t.in.gpr[rdi] = target;  // maskmovq
      const bool bit = opcode == 0xa3 || opcode == 0xab || opcode == 0xb3 || opcode == 0xbb;
      if (bit && in_memory(what)) t.in.gpr[what.reg()] &= what.reg() == rsp ? ~std::uint64_t{0} : 0xff;
    } else if (what.map == instruction::map_0f38 && opcode == 0xf8) {
      t.in.gpr[what.reg()] = target;  // movdir64b
    }
  }

  void add_form(const instruction& what, const place& where, std::size_t trials) {
    const auto target = target_in(what, where);
    const auto at = reinterpret_cast<std::uintptr_t>(take_code(where, 0));
    auto s = place_instruction("copy", with_displacement(what, at, target), where);
    const auto placed = arch::decode({reinterpret_cast<const std::uint8_t*>(s.address), what.length});
    if (!placed) return;
    for (std::size_t i = 0; i < trials; ++i) {
      auto t = random_trial(random_);
      t.small_vectors = gathers(*placed);
      t.floating_traps = i == 1;
      auto operand = target + (what.segment == 0x64 ? 0 : 64 * (random_() % 32));
      if (i == 2) operand += random_() % 64;
      if (i == 3 && what.segment != 0x64) operand = unmapped() - (random_() % 2 == 0 ? 0 : 8192);
      set_implicit(*placed, t, operand, random_);
      aim(*placed, operand, t, random_);
      s.trials.push_back(std::move(t));
    }
    subjects_.push_back(std::move(s));
  }

  void forms_of_real_libraries(std::size_t one_in) {
    for (const auto& what : collect(2, one_in)) add_form(what, near_place(), 8);
    const auto sum = run("near copies");
    EXPECT_LT(sum.faults, sum.runs / 3);
  }

  void far_from_their_operands(std::size_t one_in) {
    std::size_t bridged = 0, refused = 0;
    for (const auto& what : collect(6, one_in)) {
      if (!what.rip_relative && random_() % 8 != 0) continue;
      if (what.rip_relative) {
        const auto plan = arch::plan(what, far_place().code, false);
        std::array<std::uint8_t, 2 * arch::slot_unit> code;
        const bool lea = plan && plan->how == arch::displaced::method::emulate;
        const auto layout =
            arch::emit(*plan, far_place().code, near_place().code, far_place().code + plan->length, code);
        if (!lea && !layout) {
          ++refused;
          continue;
        }
        if (!lea && layout->scratch != arch::displaced::no_register) ++bridged;
      }
      add_form(what, far_place(), 8);
    }
    fmt::print("{} by a scratch register, {} cannot be bridged\n", bridged, refused);
    run("far copies");
    EXPECT_GT(bridged, 100 / one_in);
  }
};

// All forms, with the slot in reach of their operands.
TEST_F(Copied, EveryFormOfRealLibraries) { forms_of_real_libraries(1); }
TEST_F(Copied, SomeFormsOfRealLibraries) { forms_of_real_libraries(16); }

// No slot lies within 2 GiB of the code or its operands: a scratch register stands in for rip.
TEST_F(Copied, FarFromTheirOperands) { far_from_their_operands(1); }
TEST_F(Copied, SomeFarFromTheirOperands) { far_from_their_operands(16); }

// rcx is the address behind the instruction afterwards, r11 the flags; neither may tell of the copy or the
// trap flag.
TEST_F(Copied, SystemCalls) {
  constexpr std::uint64_t get_process_id = 39, get_user_id = 102, none = 0xffff;
  auto& s = add("syscall", {0x0f, 0x05}, 12);
  for (std::size_t i = 0; i < s.trials.size(); ++i) {
    s.trials[i].in.gpr[rax] = i % 3 == 0 ? get_process_id : i % 3 == 1 ? get_user_id : none;
  }
  run("syscall");
}

}  // namespace
