// What a handler may do to the extended state: found by reading its code.
//
// The walk follows direct branches and calls. Whatever leaves its sight (an indirect branch, a call through a
// linkage stub, bytes that are no instruction, too much code) may do everything to the vector registers.
#include <span>
#include <vector>

#include "arch/insn.hpp"
#include "arch/state.hpp"
#include "os/text.hpp"

namespace libprobe::arch {

namespace {

constexpr std::size_t most_instructions = 4096;
constexpr vector_use unknown{vector_use::every_file, true};

bool between(unsigned what, unsigned low, unsigned high) noexcept { return what >= low && what <= high; }

/// Two-byte opcodes that touch xmm (or mm) registers. Intel SDM vol. 2, appendix A, table A-3.
bool is_vector_opcode(unsigned op) noexcept {
  return between(op, 0x10, 0x17) || between(op, 0x28, 0x2f) || between(op, 0x50, 0x7f) || op == 0xc2 ||
         between(op, 0xc4, 0xc6) || between(op, 0xd0, 0xff);
}

bool is_arithmetic(unsigned op) noexcept {
  return between(op, 0x2a, 0x2f) || op == 0x51 || between(op, 0x58, 0x5f) || op == 0xc2 || op == 0xd0 ||
         op == 0xe6 || between(op, 0x7c, 0x7d);
}

vector_use use_of(const instruction& what) noexcept {
  using enum vector_use::level;
  if (what.encoding == instruction::form::evex || what.encoding == instruction::form::xop) return unknown;
  if (what.encoding == instruction::form::vex) {
    // BMI works on general registers, mask instructions on k0-7; all others zero what lies above their
    // operand.
    if (what.map == instruction::map_0f38 && between(what.opcode, 0xf2, 0xf7)) return {};
    if (what.map == instruction::map_0f3a && what.opcode == 0xf0) return {};
    const bool masks = (what.map == instruction::map_0f &&
                        (between(what.opcode, 0x41, 0x4b) || between(what.opcode, 0x90, 0x99))) ||
                       (what.map == instruction::map_0f3a && between(what.opcode, 0x30, 0x33));
    return masks ? unknown : vector_use{low_file, true};
  }
  switch (what.map) {
    case instruction::one_byte:
      return between(what.opcode, 0xd8, 0xdf) || what.opcode == 0x9b ? vector_use{everything} : vector_use{};
    case instruction::map_0f: {
      if (what.opcode == 0xae) {  // fences and fxsave, ldmxcsr, xrstor and their like
        const unsigned group = (what.modrm >> 3) & 7U;
        return what.mod() == 3 && group >= 5 ? vector_use{} : vector_use{everything};
      }
      if (what.opcode == 0x77) return vector_use{everything};  // emms
      if (!is_vector_opcode(what.opcode) || what.opcode == 0xff) return {};
      // Without a prefix the integer operations work on mm registers, which are the x87 ones.
      const bool integer =
          between(what.opcode, 0x60, 0x7f) || what.opcode >= 0xd0 || between(what.opcode, 0xc4, 0xc5);
      if (integer && !what.operand_size && !what.rep && !what.repne) return vector_use{everything};
      return vector_use{low_halves, is_arithmetic(what.opcode)};
    }
    case instruction::map_0f38:
    case instruction::map_0f3a:
      // movbe, crc32, adcx and adox work on general registers.
      if (what.map == instruction::map_0f38 && what.opcode >= 0xf0) return {};
      if (!what.operand_size && !what.rep && !what.repne) return vector_use{everything};  // mm or SHA
      return vector_use{low_halves, true};
    default:
      return vector_use{everything};
  }
}

/// How it goes on from here.
enum class course : std::uint8_t { on, ends, lost };

course course_of(const instruction& what) noexcept {
  if (what.encoding != instruction::form::legacy || what.map != instruction::one_byte) return course::on;
  const unsigned group = (what.modrm >> 3) & 7U;
  switch (what.opcode) {
    case 0xc2:
    case 0xc3:
    case 0xe9:
    case 0xeb:
      return course::ends;
    case 0xff:
      return group >= 2 && group <= 5 ? course::lost : course::on;
    case 0xcc:  // a probe there runs behind the back of whoever looks at the code
    case 0xca:
    case 0xcb:
    case 0xcf:
      return course::lost;
    default:
      return course::on;
  }
}

}  // namespace

bool keeps_more_than_vectors(std::span<const std::uint8_t> function) noexcept {
  for (std::size_t at = 0; at < function.size();) {
    const auto here = split(function.subspan(at));
    if (!here) return true;
    if (use_of(*here).most() == vector_use::everything) return true;
    at += here->length;
  }
  return false;
}

vector_use vectors_used_by(std::uintptr_t function) noexcept {
  vector_use found;
  try {
    std::vector<std::uintptr_t> to_visit{function};
    std::vector<std::uintptr_t> visited;
    const auto save_vectors = reinterpret_cast<std::uintptr_t>(&libprobe_save_vectors);
    std::size_t seen = 0;
    const auto note = [&](std::uintptr_t address) {
      if (std::find(visited.begin(), visited.end(), address) != visited.end()) return;
      visited.push_back(address);
      to_visit.push_back(address);
    };
    while (!to_visit.empty()) {
      auto at = to_visit.back();
      to_visit.pop_back();
      if (at == save_vectors) {
        found.add(vector_use{vector_use::low_file});
        continue;
      }
      for (;;) {
        std::uint8_t bytes[max_instruction_length];
        if (++seen > most_instructions || !os::read_memory(at, bytes)) return unknown;
        const auto here = split(bytes);
        if (!here) return unknown;
        found.add(use_of(*here));
        const auto how = course_of(*here);
        if (how == course::lost) found.add(unknown);
        if (const auto target = flow_of(*here, at).branch) note(*target);
        if (how != course::on) break;
        at += here->length;
      }
    }
  } catch (const std::bad_alloc&) {
    return unknown;
  }
  return found;
}

}  // namespace libprobe::arch
