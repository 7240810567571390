#include "arch/insn.hpp"

#include <cstring>

namespace libprobe::arch {

namespace {

constexpr std::uint8_t system_call[] = {0x0f, 0x05};

bool is_system_call(const instruction& what) noexcept {
  return what.encoding == instruction::form::legacy && what.map == instruction::map_0f && what.opcode == 0x05;
}

/// mov $imm32, %eax
bool loads_number(const instruction& what) noexcept {
  return what.encoding == instruction::form::legacy && what.map == instruction::one_byte &&
         what.opcode == 0xb8 && (what.rex & 9) == 0 && !what.operand_size;
}

}  // namespace

std::vector<system_call_place> system_calls_in(std::span<const std::uint8_t> function) {
  std::vector<system_call_place> found;
  long number = -1;
  for (std::size_t at = 0; at < function.size();) {
    const auto what = split(function.subspan(at));
    if (!what) break;
    if (loads_number(*what)) number = static_cast<long>(what->immediate);
    if (is_system_call(*what)) found.push_back({at, number});
    at += what->length;
  }
  return found;
}

std::size_t next_system_call(std::span<const std::uint8_t> code, std::size_t from) noexcept {
  if (from >= code.size()) return code.size();
  const void* const at = ::memmem(&code[from], code.size() - from, system_call, sizeof system_call);
  return at == nullptr ? code.size()
                       : static_cast<std::size_t>(static_cast<const std::uint8_t*>(at) - code.data());
}

}  // namespace libprobe::arch
