// What is registered, in the manner of the kernel's /sys/kernel/debug/kprobes/list
// (Documentation/trace/kprobes.rst, "The kprobes debugfs interface").
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace libprobe {

/// One registered probe.
struct probe_row {
  std::uintptr_t address = 0;
  /// Its kind's letter: <libprobe/kinds.hpp> has them all, `k` for a probe, `r` for a retprobe and so on.
  char kind = 'k';
  std::string symbol;  ///< empty when no symbol covers the address
  std::uintptr_t offset = 0;
  std::string module;
  bool disabled = false;
  bool gone = false;     ///< its module has been unloaded; the address is where it was
  bool pending = false;  ///< its module or symbol is not loaded yet: address 0, and `symbol` is the location
  bool jump = false;     ///< reached by a jump instead of a trap
  std::string method;    ///< how the displaced instruction runs at a trap: emulated, copied, single-stepped
  std::string
      tactic;  ///< how the jump fits there: over_long, punned, prefixed, over_several; else breakpoint
  std::string reason;  ///< why there is no jump; empty where there is one, or where none was asked for.
                       ///< Of a pending one: why it could not be placed when a module was loaded last
  std::uint64_t hits = 0;
  std::uint64_t nmissed = 0;
};

/// A snapshot, sorted by address and order of registration. Any thread; not from a handler; allocates, blocks
/// on other control calls.
std::vector<probe_row> list_probes();

/// `00007f21c0a3b2f0  k  sqlite3_step+0x4  libsqlite3.so.0  [TRAP]  12  0`; `[DISABLED]`, `[GONE]` or
/// `[PENDING]` in place of `[TRAP]` or `[JUMP]`.
std::string to_string(const probe_row& row);
std::ostream& operator<<(std::ostream& out, const probe_row& row);

}  // namespace libprobe
