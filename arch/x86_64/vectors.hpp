// What code may do to the extended state, and so what must be saved around it.
#pragma once

#include <cstdint>

namespace libprobe::arch {

struct vector_use {
  enum level : std::uint8_t {
    nothing,     // general registers only
    low_halves,  // xmm0-15, and never what lies above them: legacy SSE
    low_file,    // registers 0-15 whole
    every_file,  // all vector and mask registers
    everything,  // x87 too: the whole state, as XSAVE stores it
  };
  level most = nothing;
  bool arithmetic = false;  // raises exception flags in MXCSR
  bool ordinary = false;    // needs ordinary context, and the whole state

  /// As detour.S reads them.
  [[nodiscard]] constexpr std::uint32_t bits() const noexcept {
    return most | (arithmetic ? 0x100U : 0U) | (ordinary ? 0x200U : 0U);
  }
  static constexpr vector_use of(std::uint32_t bits) noexcept {
    return {static_cast<level>(bits & 0xff), (bits & 0x100) != 0, (bits & 0x200) != 0};
  }
  [[nodiscard]] constexpr bool within(const vector_use& saved) const noexcept {
    return most <= saved.most && (!arithmetic || saved.arithmetic || saved.most == everything) &&
           (!ordinary || saved.ordinary);
  }
  constexpr void add(const vector_use& other) noexcept {
    if (other.most > most) most = other.most;
    arithmetic = arithmetic || other.arithmetic;
    ordinary = ordinary || other.ordinary;
  }
};

/// In a signal handler, whose frame holds it all.
constexpr vector_use all_saved() noexcept { return {vector_use::everything, true, true}; }

}  // namespace libprobe::arch
