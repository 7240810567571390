#include <fmt/format.h>

#include <libprobe/listing.hpp>
#include <ostream>

#include "control/registry.hpp"
#include "site/thread.hpp"
#include "symbols/lookup.hpp"
#include "symbols/modules.hpp"
#include "symbols/symbols.hpp"

namespace libprobe {

namespace {

const char* name_of(arch::displaced::method how) noexcept {
  switch (how) {
    case arch::displaced::method::emulate:
      return "emulated";
    case arch::displaced::method::copy:
      return "copied";
    case arch::displaced::method::step:
      return "single-stepped";
  }
  return "";
}

probe_row row_of_waiting(const control::entry& e) {
  probe_row row;
  row.kind = e.kind;
  row.symbol = e.waits_for;
  row.disabled = e.disabled;
  row.pending = true;
  row.reason = e.why_not_placed;
  row.nmissed = e.missed;
  return row;
}

}  // namespace

std::vector<probe_row> list_probes() {
  const site::quiet no_handlers;
  const auto entries = control::registry::instance().list();
  std::vector<probe_row> rows;
  rows.reserve(entries.size());
  const symbols::lookup no_fork{control::registry::instance().lookups()};
  for (const auto& e : entries) {
    if (!e.waits_for.empty()) {
      rows.push_back(row_of_waiting(e));
      continue;
    }
    auto where =
        e.gone_with != nullptr ? symbols::describe(*e.gone_with, e.address) : symbols::describe(e.address);
    rows.push_back({e.address, e.kind, std::move(where.symbol), where.offset, std::move(where.module),
                    e.disabled, e.gone_with != nullptr, false, e.jump, name_of(e.how),
                    arch::name_of(e.tactic), e.why_trap != nullptr ? e.why_trap : "", e.hits, e.missed});
  }
  return rows;
}

std::string to_string(const probe_row& row) {
  const auto symbol = row.symbol.empty() ? std::string{"?"}
                      : row.pending      ? row.symbol
                                         : fmt::format("{}+{:#x}", row.symbol, row.offset);
  const char* const state = row.gone       ? "[GONE]"
                            : row.pending  ? "[PENDING]"
                            : row.disabled ? "[DISABLED]"
                            : row.jump     ? "[JUMP]"
                                           : "[TRAP]";
  return fmt::format("{:016x}  {}  {}  {}  {}  {}  {}", row.address, row.kind, symbol, row.module, state,
                     row.hits, row.nmissed);
}

std::ostream& operator<<(std::ostream& out, const probe_row& row) { return out << to_string(row); }

}  // namespace libprobe
