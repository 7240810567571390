#include "arch/machine.hpp"

#include <elf.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace libprobe::arch {
namespace {

constexpr std::uint8_t endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
// mov rax, 15 (rt_sigreturn); syscall
constexpr std::uint8_t sigreturn_bytes[] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05};
constexpr std::size_t sigreturn_instructions[] = {0, 7};

bool starts_with(std::span<const std::uint8_t> code, std::span<const std::uint8_t> pattern) {
  return code.size() >= pattern.size() && std::equal(pattern.begin(), pattern.end(), code.begin());
}

}  // namespace

std::optional<std::uintptr_t> linkage_slot(std::span<const std::uint8_t> code,
                                           std::uintptr_t address) noexcept {
  constexpr std::uint8_t mov_r11d[] = {0x41, 0xbb};
  constexpr std::uint8_t bnd[] = {0xf2};
  constexpr std::uint8_t jump_through_rip[] = {0xff, 0x25};
  constexpr std::size_t jump_length = 6;
  constexpr std::size_t mov_length = 6;

  std::size_t at = 0;
  if (starts_with(code, endbr64)) at += sizeof endbr64;
  // mold loads the index of the relocation first.
  if (starts_with(code.subspan(at), mov_r11d) && code.size() >= at + mov_length) at += mov_length;
  if (starts_with(code.subspan(at), bnd)) at += sizeof bnd;
  if (!starts_with(code.subspan(at), jump_through_rip) || code.size() < at + jump_length) return std::nullopt;
  std::int32_t displacement;
  std::memcpy(&displacement, code.data() + at + 2, sizeof displacement);
  return address + at + jump_length + static_cast<std::uintptr_t>(std::intptr_t{displacement});
}

bool stores_function_address(std::uint64_t relocation_type) noexcept {
  return relocation_type == R_X86_64_JUMP_SLOT || relocation_type == R_X86_64_GLOB_DAT;
}

std::size_t stored_bytes(std::uint64_t relocation_type) noexcept {
  switch (relocation_type) {
    case R_X86_64_64:
    case R_X86_64_RELATIVE:
    case R_X86_64_IRELATIVE:
    case R_X86_64_GLOB_DAT:
    case R_X86_64_JUMP_SLOT:
    case R_X86_64_PC64:
      return 8;
    case R_X86_64_32:
    case R_X86_64_32S:
    case R_X86_64_PC32:
      return 4;
    default:
      return 0;
  }
}

stub signal_return() noexcept { return {sigreturn_bytes, sigreturn_instructions}; }

}  // namespace libprobe::arch
