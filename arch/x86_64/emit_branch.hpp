// Branches that run in a slot: relative ones, and calls, need more than a relocated copy.
#pragma once

#include <span>

#include "os/result.hpp"
#include "port/slot.hpp"

namespace libprobe::arch {

/// True for the branches that emit_branch() writes; the others are copied.
bool needs_rewriting(const displaced& what) noexcept;

/// As emit(). A call pushes the address behind the original, so that callee, unwinders and position tricks
/// see what they would have seen.
result<slot_layout> emit_branch(const displaced& what, std::uintptr_t address, std::uintptr_t slot,
                                std::uintptr_t next, std::span<std::uint8_t> code) noexcept;

}  // namespace libprobe::arch
