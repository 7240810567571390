// Reading and writing the process's own text while it runs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace libprobe::os {

/// One change of text: where the bytes are `expected`, they become `wanted`. Both have `size` bytes and
/// outlive the call.
struct edit {
  enum class outcome : std::uint8_t {
    pending,  // not reached, or taken back
    written,
    differs,  // other bytes stand there: left alone
    gone,     // nothing is mapped there: left alone
    refused,  // the kernel does not let us write
  };
  std::uintptr_t address = 0;
  const std::uint8_t* expected = nullptr;  // null: whatever stands there, in readable memory that stays
  const std::uint8_t* wanted = nullptr;
  std::uint32_t size = 0;
  outcome done = outcome::pending;
};

/// Carries out the edits, which are sorted by address and do not overlap: one read and one write for some
/// pages in a row. Stops at a refused write if `all_or_nothing`, taking back what it had written; a
/// difference counts as a refusal then, and what could not be taken back stays `written`. Returns whether
/// every edit was written. Does not synchronise cores. Blocks; not signal-safe; one thread at a time, which
/// is the callers' to see to: control calls it under its lock.
///
/// Writes go through /proc/self/mem, so there is no moment at which a page is writable (or not executable),
/// and an error in place of a fault when it is gone. Where the kernel refuses that, or there is no /proc, or
/// no descriptor to be had, each page is exchanged for a written copy of itself: still no moment at which it
/// is writable or not executable, but it is no longer part of the file's mapping.
bool write_text(std::span<edit> edits, bool all_or_nothing) noexcept;

/// The same, for text that other threads may be running: each of them sees all of an edit or nothing, without
/// a trap in between. What an edit covers must be one instruction's, or text that nobody can be inside of.
/// Pages are exchanged as above, so it is dear, and refused where write_text() might do. What stands beside
/// the edits is not written.
bool exchange_text(std::span<edit> edits, bool all_or_nothing) noexcept;

/// Copies memory that may vanish at any moment. False if some of it is not there. Where a sandbox refuses all
/// ways to ask the kernel for it, memory that vanishes in that very moment faults.
bool read_memory(std::uintptr_t from, std::span<std::uint8_t> to) noexcept;

/// For tests: asked before each write of a page; true makes that write fail as if the kernel had refused it.
/// While there is one, each page is written by itself.
void set_write_refusal(bool (*refuse)(std::uintptr_t page)) noexcept;

}  // namespace libprobe::os
