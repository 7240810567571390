// One probed address: how its instruction runs, and who wants to know. Where hit and control meet.
#pragma once

#include <atomic>
#include <cstdint>
#include <libprobe/registers.hpp>

#include "arch/arch.hpp"
#include "site/slots.hpp"
#include "site/table.hpp"

namespace libprobe::site {

struct site;

/// One registered probe, of any kind, at its site. Made by the api, owned by control, freed after a grace
/// period.
struct attachment {
  // What the hit path calls; any may be null. The kinds (src/api) supply them.
  int (*before)(attachment&,
                registers&) = nullptr;  // non-zero: the instruction pointer is set, skip the instruction
  void (*after)(attachment&, registers&) = nullptr;
  bool (*fault)(attachment&, registers&, int signo) = nullptr;
  std::atomic<std::uint64_t>* hits = nullptr;  // in the user's object, which outlives the attachment
  std::atomic<std::uint64_t>* missed = nullptr;

  std::atomic<attachment*> next{nullptr};  // in order of registration; read under an epoch section
  std::atomic<bool> resting{false};        // disabled, or removed and waiting for its commit
  bool removed = false;                    // control only, as all below
  bool disabled = false;
  char kind = 'k';
  site* where = nullptr;
  void* owner = nullptr;                            // the user's object
  void (*release)(attachment&) noexcept = nullptr;  // frees it, tells the user's object
};

/// Published in the table; freed a grace period after it was taken out.
struct site {
  std::uintptr_t address = 0;
  arch::displaced plan;
  // Null for an emulated instruction. Slots are never freed: a thread may sit in one for hours.
  const slot* code = nullptr;
  std::atomic<attachment*> first{nullptr};
  // control only:
  attachment* last = nullptr;
  bool armed = false;
  site* next_retired = nullptr;

  [[nodiscard]] bool wants_after() const noexcept {
    for (auto* a = first.load(std::memory_order_acquire); a != nullptr;
         a = a->next.load(std::memory_order_acquire)) {
      if (a->after != nullptr && !a->resting.load(std::memory_order_relaxed)) return true;
    }
    return false;
  }
};

/// All sites of the process. One writer: control, under its lock.
extern constinit table<site> sites;

/// Odd while text is being written, and different after: whoever finds neither a site nor restored text in
/// between looks again.
extern constinit std::atomic<std::uint64_t> text_version;

}  // namespace libprobe::site
